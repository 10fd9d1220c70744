"""A run's metrics while it runs: written, followed, and copied for TensorBoard and MLflow."""
