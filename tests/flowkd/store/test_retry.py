"""Which errors of a store go away by themselves, told by what servers and clients say."""

from __future__ import annotations

import errno

import pytest

from flowkd.store.retry import is_transient, with_retries


class ServerError(Exception):
    """As botocore raises what a server answers."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ServerError("SlowDown", 503), True),
        (ServerError("Unheard", 500), True),
        (ServerError("InsufficientStorage", 507), True),
        (ServerError("AccessDenied", 403), False),
        (ServerError("NoSuchBucket", 404), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.ETIMEDOUT, "late"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (ValueError("wrong"), False),
    ],
    ids=repr,
)
def test_what_may_pass_is_told_from_what_may_not(error: Exception, transient: bool) -> None:
    assert is_transient(error) == transient
    outer = RuntimeError("of a client")
    outer.__cause__ = error
    assert is_transient(outer) == transient


def test_an_operation_is_tried_again_only_while_it_may_pass() -> None:
    answers: list[Exception] = [ServerError("SlowDown", 503), ConnectionResetError()]

    def operation() -> str:
        if answers:
            raise answers.pop(0)
        return "done"

    assert with_retries(operation, 30) == "done"
    answers.append(ServerError("AccessDenied", 403))
    with pytest.raises(ServerError, match="AccessDenied"):
        with_retries(operation, 30)
