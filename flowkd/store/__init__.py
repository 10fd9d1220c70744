"""Everything that is kept: one root on disk or object storage, with retries and locks."""
