"""The page of a search: its trials, its hints, what mattered."""
