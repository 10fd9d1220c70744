"""Distillation: losses, their weights over time, hints, teacher samples, warm starts."""
