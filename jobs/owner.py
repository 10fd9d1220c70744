"""Who submits a job."""

from __future__ import annotations

import getpass
import os


def this_user() -> str:
    """Returns FLOWKD_OWNER, or the user of this machine."""
    return os.environ.get("FLOWKD_OWNER") or getpass.getuser()
