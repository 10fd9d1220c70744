"""Serving over HTTP: models on Ray Serve, the API, its limits."""
