"""Serving over HTTP: models on Ray Serve, and the HTTP interface to them."""
