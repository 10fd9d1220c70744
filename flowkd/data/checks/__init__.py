"""What makes the density of a table mean little, or impossible: found before it is stored."""
