"""What a flow is, in words: its family, and the passes of its networks that each way takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowkd.flows.flow import Flow


def family_of(flow: Flow) -> str:
    """Returns the family of a flow, with what it applies; empty for one without a config.

    Example:
        >>> import flowkd
        >>> family_of(flowkd.autoregressive(3, depth=2, width=8))
        'autoregressive, spline'
    """
    config = flow.config
    kind = getattr(config, "kind", "")
    transform = getattr(config, "transform", "")
    return ", ".join(each for each in (kind, transform) if each)


def passes_of(flow: Flow) -> str:
    """Returns how many passes of its networks a flow's directions take.

    Example:
        >>> import flowkd
        >>> passes_of(flowkd.coupling(3, depth=2, width=8))
        'log_prob and samples one pass'
        >>> passes_of(flowkd.autoregressive(3, depth=2, width=8))
        'log_prob one pass, samples 3 passes'
    """
    one = flow.one_pass
    if all(one.values()):
        return "log_prob and samples one pass"
    most = "up to " if getattr(flow.config, "decoding", "exact") == "jacobi" else ""
    told = {
        name: "one pass" if found else f"{most}{flow.dimensions} passes"
        for name, found in one.items()
    }
    return f"log_prob {told['log_prob']}, samples {told['sample']}"
