"""What a run's config leaves open, chosen: the flow, its size, rate, weights, start, precision."""
