"""Normalizing flows, their distillation, and what is needed to keep and query them. Never Ray."""

__version__ = "0.1.0"
