"""Flows of other libraries as teachers, computed by their own library: a file each."""
