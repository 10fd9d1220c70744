"""The line that starts an attempt holds each word as one, and no word of a job's records."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from cluster.queue.config import QueueConfig
from cluster.queue.ray_jobs import entrypoint

ODD = ["two words", "a\nb", "$(touch here)", "`touch here`", "a; touch here", "--store=x", "*", "'"]


@pytest.mark.parametrize("word", ODD)
def test_a_shell_hands_the_runner_each_word_as_it_is(word: str) -> None:
    config = QueueConfig(commands={"odd": ("python", word, "{config}")})
    line = entrypoint("job", 2, "odd", f"file:///{word}", config)
    shown = shlex.join([sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"])
    module = f"exec {shlex.quote(sys.executable)} -m cluster.queue.runner"
    assert line.startswith(module)
    done = subprocess.run(
        line.replace(module, shown), shell=True, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert said[:2] == ["--store", f"file:///{word}"]
    assert said[-6:] == ["job", "2", "--", "python", word, "{config}"]
