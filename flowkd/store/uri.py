"""Where a store is: its URI, by default and from its root."""

from __future__ import annotations

import os
from pathlib import Path

from flowkd.errors import StoreError

DEFAULT_URI = "store"
# Ray sets it in the process of a submitted job, whose folder is Ray's copy of the one submitted.
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def default_uri() -> str:
    """Returns FLOWKD_STORE, or the folder `store` of the working directory."""
    return os.environ.get("FLOWKD_STORE") or DEFAULT_URI


def absolute_uri(uri: str) -> str:
    """Returns the URI of a store, whatever the folder that a process works in."""
    scheme, separator, rest = uri.partition("://")
    if separator and (scheme not in ("file", "local") or rest.startswith("/")):
        return uri
    path = Path(rest if separator else uri).expanduser()
    if SUBMITTED in os.environ and not path.is_absolute():
        raise StoreError(
            f"expected a store by its whole path or URL in a job that is submitted to Ray; got "
            f"{uri!r}, which would lie in Ray's copy of the folder and go with it: give --store "
            f"/folder or s3://bucket/prefix, or the job FLOWKD_STORE, as all have on a cluster of "
            f"`flowkd up`"
        )
    # Not Path.as_uri(): fsspec takes file:// paths literally, "%20" and all.
    return f"file://{path.resolve()}"
