"""Tells damaged files from those that cannot be reached, in one line each."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowkd.errors import DataError
from flowkd.text import shortened

# What damaged archives make the standard library raise; its OSErrors have no number then.
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)
REFUSALS = (FileNotFoundError, PermissionError, ConnectionError, TimeoutError)
RANGES = "range requests"  # in fsspec's words for a server that has none


class DamageError(DataError):
    """A file, or a member of an archive, that is cut off or damaged."""

    why = "cut off or damaged"


@contextmanager
def explain_damage(
    where: str, expected: int | None = None, after: Callable[[], str] | None = None
) -> Iterator[None]:
    """Turns the errors that the standard library raises for a damaged archive into a DataError.

    The message tells damage, which asks for another download, from a failure to read, a server
    without ranges, and a zip with a password.
    """
    try:
        yield
    except ValueError as error:
        if RANGES not in str(error):
            raise
        raise DataError(
            f"{where} cannot be read: its server does not answer requests for a range of bytes, "
            f"which a zip needs; fetch it and name it on disk, or pack a tar"
        ) from error
    except DAMAGE as error:
        if isinstance(error, REFUSALS) or (isinstance(error, OSError) and error.errno):
            raise DataError(
                f"{where} cannot be read: {error}; see whether it is there, answers, and may be "
                f"read, and start again: what is done is kept"
            ) from error
        place = f" after {after()}" if after else ""
        sizes = f"; expected {expected:,} bytes" if expected is not None else ""
        what = shortened(str(error) or type(error).__name__)  # zipfile tells whole headers
        raise DamageError(
            f"{where} is cut off or damaged{place}: {what}{sizes}; "
            f"fetch {where.split(' in ')[-1]} again"
        ) from error
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise DataError(
            f"{where} is encrypted with a password; unpack it and name what was in it"
        ) from error
