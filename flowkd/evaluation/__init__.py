"""Figures of flows on held-out data: likelihood, round trip, throughput."""
