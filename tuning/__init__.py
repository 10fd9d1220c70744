"""Ray Tune over hint layers and loss weights."""
