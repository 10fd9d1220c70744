"""Errors for users: each names the object, what was expected, what came, and what to do."""

from __future__ import annotations

from flowkd.credentials import without_credentials


class FlowkdError(Exception):
    """Base of all errors that the user can put right; the message says how.

    Wherever it is shown, in an answer or a log, URLs in it are without credentials.
    """

    def __str__(self) -> str:
        return without_credentials(super().__str__())


class ConfigError(FlowkdError):
    """A configuration that does not validate: the full path of each faulty key is named."""


class DataError(FlowkdError):
    """Data that are missing, unreadable, or of another shape or type than expected."""


class StoreError(FlowkdError):
    """An object of the store that is missing, already there, or not what its manifest says."""


class NonFiniteError(FlowkdError):
    """A loss term or a gradient is NaN or infinite: training stops at once."""


class StoppedError(FlowkdError):
    """A training was asked to stop: it has written a checkpoint, and can be resumed from it."""


class HeldError(FlowkdError):
    """Another process does this work, trains this run for one, and is alive."""


class FencedError(FlowkdError):
    """Another process has taken this work over: nothing that this one writes counts any more."""


class ConversionError(FlowkdError):
    """A flow of another library that flowkd cannot take over, or that would not be the same."""


class RefusedError(FlowkdError):
    """A model that is not published, because it is not sound or worse than a simple one."""
