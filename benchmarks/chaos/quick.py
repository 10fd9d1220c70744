"""A quick job: `python -m benchmarks.chaos.quick SECONDS` lives for so long and says so."""

from __future__ import annotations

import sys
import time

if __name__ == "__main__":
    print("a quick job begins", flush=True)
    time.sleep(float(sys.argv[1]))
    print("a quick job ends", flush=True)
