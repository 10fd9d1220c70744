"""Looks whether this Python has what the entry points need, before anything of it is imported."""

import importlib.util
import sys

OF_FLOWKD = ("pydantic", "yaml", "fsspec", "numpy", "pyarrow", "rich", "safetensors", "torch")
OF_CLUSTER = ("typer", "ray", "httpx", "optuna", "orjson", "s3fs")


def end_without_packages() -> None:
    """Ends the process with a line where packages are missing, which names the extra."""
    missing = [name for name in OF_FLOWKD + OF_CLUSTER if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"error: {sys.executable} has no {', '.join(missing)}: the commands of flowkd need the "
            f"extra `cluster`; use the Python of its environment (.venv/bin/python after `make "
            f"venv`), or `pip install 'flowkd[cluster]'` there",
            file=sys.stderr,
        )
        raise SystemExit(1)
