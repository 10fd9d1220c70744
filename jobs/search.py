"""Finds the best student of a teacher within a budget; --resume goes on with a search."""

from __future__ import annotations

from jobs.cli.search import app

if __name__ == "__main__":
    app()
