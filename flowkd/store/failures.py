"""What went wrong outside of flowkd, on a disk, a server or for want of a package, in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from flowkd.errors import FlowkdError

AWS_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
ELSEWHERE = "choose a folder in which this user may write"
ANSWERS = "see whether its address is right and it answers"

# What the disk says, and what to do.
DISK = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose a folder on another disk"),
    errno.EDQUOT: ("this user's quota is used up", "free some space, or choose another disk"),
    errno.EFBIG: ("the file is larger than is allowed here", "choose a folder on another disk"),
    errno.EROFS: ("the file system is read-only", ELSEWHERE),
    errno.EACCES: ("this user may not do that", "change the permissions, or the path"),
    errno.EPERM: ("this user may not do that", "change the permissions, or the path"),
    errno.ENOENT: ("there is no such file or folder", "correct the path"),
    errno.EISDIR: ("it is a folder, and a file was expected", "correct the path"),
    errno.ENOTDIR: ("a part of the path is a file", "correct the path"),
    errno.EEXIST: ("a part of the path is a file", "correct the path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ELOOP: ("its symbolic links form a circle", "correct the path"),
    errno.EMFILE: ("this process has too many files open", "raise `ulimit -n`"),
    errno.EIO: ("the device does not answer as it should", "see whether it is damaged"),
    errno.ENOMEM: ("there is not enough memory", "use a machine with more"),
}
EXTRAS = {"s3fs": "'flowkd[cluster]'"}
CONNECTION = ("Connect", "Endpoint", "Timeout", "Disconnected", "ServerError", "HTTPClientError")
# Packages whose errors share no base with OSError.
CLIENTS = ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "adlfs", "requests")


def explain_failure(error: BaseException) -> str | None:
    """Returns what is wrong and what to do; None for an error that may be flowkd's own fault.

    Examples:
        >>> explain_failure(OSError(errno.ENOSPC, "No space left on device", "/data/a"))
        "'/data/a': the disk is full; free some space, or choose a folder on another disk"
        >>> explain_failure(KeyError("a")) is None
        True
    """
    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return _package(error, text)
    if of_client(error):
        return f"{text or type(error).__name__}; {_remedy(error, text)}"
    if isinstance(error, OSError):
        return _os_error(error, text)
    if isinstance(error, ValueError) and "support range requests" in text:
        return (
            "the web server sends files only from their beginning (it has no range requests); "
            "download the file, and name it"
        )
    if isinstance(error, ValueError) and text.startswith("Protocol not known"):
        return f"{text}; correct the part before ://"
    if isinstance(error, MemoryError):
        return "there is not enough memory; use a machine with more, or fewer rows at once"
    return None


@contextmanager
def explained(what: str, kind: type[FlowkdError]) -> Iterator[None]:
    """Turns failures that lie outside of flowkd into errors for users, which begin with `what`."""
    try:
        yield
    except FlowkdError:
        raise
    except Exception as error:
        said = explain_failure(error)
        if said is None:
            raise
        raise kind(f"{what}: {said}") from error


def _os_error(error: OSError, text: str) -> str:
    place = f"{error.filename!r}: " if error.filename else ""
    if isinstance(error, ConnectionError | TimeoutError):
        return f"{place}{text or 'no answer in time'}; {ANSWERS}"
    if error.errno in DISK:
        reason, remedy = DISK[error.errno]
        told = "" if place or error.strerror in (None, text) else f" ({text})"
        return f"{place}{reason}{told}; {remedy}"
    if isinstance(error, FileNotFoundError):  # of an fsspec filesystem, which gives no number
        return f"there is no {text!r}; correct the path"
    if isinstance(error, PermissionError):
        return f"{text or 'refused'}; {_remedy(error, text)}"
    return f"{place}{error.strerror or text or type(error).__name__}; see whether it is in order"


def of_client(error: BaseException) -> bool:
    """Tells whether a client of an object store or of the web raised an error."""
    return any(kind.__module__.split(".")[0] in CLIENTS for kind in type(error).__mro__)


def _remedy(error: BaseException, text: str) -> str:
    name = type(error).__name__
    if "credential" in (name + text).lower() or isinstance(error, PermissionError):
        return f"give credentials that may read it: for S3, {AWS_KEYS}"
    if any(word in name for word in CONNECTION):
        return f"{ANSWERS}: for S3, AWS_ENDPOINT_URL"
    return ANSWERS


def _package(error: ImportError, text: str) -> str | None:
    """Explains a package that fsspec asks for; None for one of flowkd's own."""
    cause = error.__cause__ or error.__context__
    missing = getattr(cause, "name", None) or error.name
    if "install" not in text.lower():
        return None
    if missing is None:
        return f"{text}; install it"
    wanted = EXTRAS.get(missing, missing)
    return f"the package {missing!r} is needed and not installed ({text}); pip install {wanted}"
