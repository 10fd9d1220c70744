"""Flows that were trained with another library, as lists of typed layers."""
