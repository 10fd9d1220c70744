"""make bench-scale: what a queue and a store cost that hold a great deal."""
