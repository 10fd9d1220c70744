"""From data to a served student: one file, and all that its stages are."""
