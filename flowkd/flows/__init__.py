"""Flows: a density over data, its typed config, and its fast form for inference."""
