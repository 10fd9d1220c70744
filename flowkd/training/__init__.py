"""One training, from its config to its result: the loop, its inputs and its metrics."""
