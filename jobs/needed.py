"""Looks whether this Python has what the entry points need, before anything of it is imported."""

import importlib.util
import sys

NEEDED = (
    *("pydantic", "yaml", "fsspec", "numpy", "psutil", "pyarrow", "rich", "safetensors"),
    *("torch", "typer"),
)


def end_without_packages() -> None:
    """Ends the process with a line where packages are missing, which says what to install.

    Those of an extra are named where they are needed, by `cluster.exits`.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"error: {sys.executable} has no {', '.join(missing)}: use the Python of flowkd's "
            f"environment (.venv/bin/python after `make venv`), or `pip install "
            f"'flowkd[cluster]'` there",
            file=sys.stderr,
        )
        raise SystemExit(1)
