"""How a command ends: an exit code, and one line on stderr where something went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flowkd.credentials import without_credentials
from flowkd.errors import FencedError, FlowkdError, HeldError, StoppedError
from flowkd.store.failures import explain_failure
from flowkd.text import visible

# A table of them: docs/reference/exit-codes.md. 2 is that of wrong arguments, which argparse and
# typer give.
ERROR = 1
FAULT = 70  # what sysexits.h calls an internal error
AGAIN = 75  # and a temporary failure; the queue always tries it again
FENCED = 77  # and a permission that was denied: another process has taken the work over
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count

OF_CLUSTER = ("ray", "httpx", "optuna", "orjson")  # packages of the extra `cluster`


@contextmanager
def exits(*, debug: bool = False) -> Iterator[None]:
    """Ends the process with a line and an exit code, whatever is raised.

    What is known to be the user's, or of disks, servers and packages, is a line `error: ...`. What
    is not, keeps its traceback, and a line asks to report it.

    Args:
        debug: Whether every error keeps its traceback.
    """
    try:
        yield
    except BrokenPipeError:  # the reader has gone: typer ends quietly
        raise
    except KeyboardInterrupt as error:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("click", "typer"):  # usage, and exits
            raise
        raise SystemExit(tell(error, debug=debug)) from error


def tell(error: Exception, *, debug: bool = False) -> int:
    """Prints what went wrong to stderr, with its traceback for debugging; returns the exit code."""
    said = explain(error)
    if debug or said is None:
        _print_traceback(error)
    if said is not None:
        print(visible(f"error: {without_credentials(said)}"), file=sys.stderr)
        return _code(error)
    print(
        f"error: {type(error).__name__}: this is a fault of flowkd's own: please report it, with "
        f"the lines above",
        file=sys.stderr,
    )
    return FAULT


def _print_traceback(error: Exception) -> None:
    import traceback

    lines = "".join(traceback.format_exception(error))
    print(visible(without_credentials(lines)), file=sys.stderr, end="")


def _code(error: BaseException) -> int:
    """Returns the exit code of an error that is not a fault of flowkd's own."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return _code(cause)
    if isinstance(error, FencedError):
        return FENCED
    return AGAIN if isinstance(error, StoppedError | HeldError) else ERROR


def explain(error: BaseException) -> str | None:
    """Returns an error's message for users; None for one that may be a fault of flowkd's own."""
    cause = getattr(error, "cause", None)  # what a task of Ray's raised, without its traceback
    if isinstance(cause, Exception):
        return explain(cause)
    if isinstance(error, FlowkdError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and _top(error) in OF_CLUSTER:
        return f"this needs {_top(error)}, which is not installed: pip install 'flowkd[cluster]'"
    from pydantic import ValidationError  # nothing needs it where nothing went wrong

    from flowkd.config import reason

    if isinstance(error, ValidationError):
        return f"{error.title}: {reason(error)}"
    return explain_failure(error)


def _top(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
