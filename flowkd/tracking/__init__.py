"""Figures that are sent to a server of others while they come, as long as it answers."""
