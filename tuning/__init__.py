"""Searches for the best student of a teacher within a budget, with Ray Tune and Optuna."""
