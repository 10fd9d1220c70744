"""make bench-all: flowkd beside other libraries, and both beside the networks alone."""
