"""The errors that a user meets: each names the object, the expectation, the value, the remedy."""


class FlowkdError(Exception):
    """Something that the user can put right; its message says how."""


class ConfigError(FlowkdError):
    """A configuration that does not validate: the full path of each faulty key is named."""


class DataError(FlowkdError):
    """Data that are missing, unreadable, or of another shape or type than expected."""


class StoreError(FlowkdError):
    """An object of the store that is missing, already there, or not what its manifest says."""


class NonFiniteError(FlowkdError):
    """A term, or a gradient, that is NaN or infinite: training stops at once."""


class StoppedError(FlowkdError):
    """A training that was asked to stop: it has left a checkpoint, and can go on from there."""
