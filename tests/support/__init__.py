"""What tests of several folders share: servers, small flows, runs, studies, searches, queues."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
