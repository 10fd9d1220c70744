"""Puts a job into the queue, from inside a Ray job too:

ray job submit -- python -m jobs.enqueue distill --config distilled.yaml --store URI
"""

from __future__ import annotations

from jobs.cli.entry import run_command
from jobs.cli.queue import submit_job

if __name__ == "__main__":
    run_command(submit_job)
