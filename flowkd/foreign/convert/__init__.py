"""From a flow of another library to a flow of flowkd with the same density: a file a library."""
