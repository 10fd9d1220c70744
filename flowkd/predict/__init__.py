"""What a served flow answers: log-densities and samples, free of HTTP."""
