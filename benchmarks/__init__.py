"""Measurements that `make bench`, `bench-data`, `bench-tuning` and `bench-warmstart` run."""
