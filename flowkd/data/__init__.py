"""Data sets: shards and a manifest in the store, rows of a split, shuffled batches of them."""
