"""Entry points: python -m jobs.NAME --config FILE [--store URI] [--set key.path=value]."""

from jobs.needed import end_without_packages

end_without_packages()
