"""Retries with exponential backoff, and which errors of object storage are transient."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 8.0  # seconds

# What an S3 server says of itself, not of the request. The clients' own retries come before: they
# know fewer of these, and give up after seconds.
EXPIRED_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
)
TRANSIENT_CODES = EXPIRED_CODES | {
    "ConditionalRequestConflict",
    "InsufficientStorage",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504, 507})
TRANSIENT_ERRNO = frozenset(
    {errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT}
)
# By name: flowkd depends neither on botocore nor on aiohttp.
TRANSIENT_CLASSES = {
    "ClientConnectionError",
    "ClientPayloadError",
    "HTTPClientError",
    "IncompleteRead",
    "IncompleteReadError",
    "ResponseParserError",
    "ResponseStreamingError",
    "ServerDisconnectedError",
}


def with_retries(
    operation: Callable[[], T],
    seconds: float,
    renew: Callable[[], None] = lambda: None,
) -> T:
    """Returns what an operation returns, tried again while its errors are transient.

    The pauses double up to LONGEST_PAUSE, each times a random number from 0.5 to 1.5, so that the
    workers of a cluster do not come back all at once.

    Args:
        operation: May be called several times.
        seconds: After these no further attempt is begun; 0 for a single one.
        renew: Is called before an attempt that follows expired credentials.

    Raises:
        Exception: The operation's own: at once if it is not transient, else the last one.
    """
    deadline = time.monotonic() + seconds
    pause, renewed = FIRST_PAUSE, False
    while True:
        try:
            return operation()
        except Exception as error:
            wait = pause * random.uniform(0.5, 1.5)
            doubtful = not renewed and credentials_may_have_expired(error)
            if not (is_transient(error) or doubtful) or time.monotonic() + wait > deadline:
                raise
            if credentials_may_have_expired(error):
                renew()
                renewed = True
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


def is_transient(error: BaseException) -> bool:
    """Tells whether an error may go away by itself: overload, a full server, lost connections."""
    for cause in _causes(error):
        code, status = _answer(cause)
        if code or status:
            return code in TRANSIENT_CODES or status in TRANSIENT_STATUS
        if isinstance(cause, ConnectionError | TimeoutError):
            return True
        if isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNO:
            return True
        if not TRANSIENT_CLASSES.isdisjoint(each.__name__ for each in type(cause).__mro__):
            return True
    return False


def may_exist_already(error: BaseException) -> bool:
    """Tells whether a conditional write may have been refused for an object that is there.

    Clients and servers disagree on how to say so: as 412, which s3fs turns into FileExistsError
    or EINVAL, or by a code that it does not know and turns into EIO.
    """
    if isinstance(error, FileExistsError):
        return True
    if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.EINVAL, errno.EIO):
        return True
    return any(_answer(cause)[1] == 412 for cause in _causes(error))


def credentials_may_have_expired(error: BaseException) -> bool:
    """Tells whether an error may be one of credentials that were valid once.

    The answer to a HEAD has no body to say so: it is a plain 400.
    """
    return any(_answer(cause)[0] in {"400", *EXPIRED_CODES} for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and what it was raised from, the first cause first."""
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    yield from reversed(found)


def _answer(error: BaseException) -> tuple[str, int]:
    """Returns the code and the HTTP status that a server gave; "" and 0 if it gave none."""
    response: Any = getattr(error, "response", None)
    if not isinstance(response, dict):
        return "", 0
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code, int(status or (code if code.isdigit() else 0))
