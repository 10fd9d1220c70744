"""Entry points: python -m jobs.NAME --config FILE [--store URI] [--set key.path=value]."""
