"""make bench-families: which family of flows to take, in time, beside other libraries."""
