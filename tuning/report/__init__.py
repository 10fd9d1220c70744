"""The report of a search: a page with plots, and tables of its trials."""
