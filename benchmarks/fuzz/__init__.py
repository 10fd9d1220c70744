"""Inputs that nobody would send on purpose, thrown at the product: `make fuzz`."""
