"""Published models: immutable artifacts, aliases that point at them, what a store holds."""
