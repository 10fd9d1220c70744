"""A quick job: `python -m benchmarks.chaos.quick CONFIG` lives for its `seconds` and says so."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml

if __name__ == "__main__":
    print("a quick job begins", flush=True)
    time.sleep(float(yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))["seconds"]))
    print("a quick job ends", flush=True)
