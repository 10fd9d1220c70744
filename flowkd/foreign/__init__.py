"""Flows that were trained with nflows, normflows or zuko: converted, or used as they are."""
