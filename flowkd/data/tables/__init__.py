"""Tables in files: a format tells its columns before rows are read, then yields rows in batches."""
