"""Normalizing flows, their distillation into small ones, and what keeps and answers for them.

flow    = flowkd.glow((3, 32, 32), levels=3, depth=8, width=128)
history = flowkd.fit(flow, x, steps=1000, validation=0.1)
student = flowkd.distill(flow, x, share=0.25)
flowkd.publish(student, "photos", store="s3://bucket/prefix")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowkd.api import load as load
    from flowkd.api import publish as publish
    from flowkd.distillation.hints import Hint as Hint
    from flowkd.distillation.schedules import LossWeights as LossWeights
    from flowkd.errors import FlowkdError as FlowkdError
    from flowkd.evaluation.metrics import bits_per_dim as bits_per_dim
    from flowkd.flows.autoregressive import autoregressive as autoregressive
    from flowkd.flows.coupling import coupling as coupling
    from flowkd.flows.flow import Flow as Flow
    from flowkd.flows.glow import glow as glow
    from flowkd.flows.inference import for_inference as for_inference
    from flowkd.foreign.conversion import convert as convert
    from flowkd.foreign.teachers import adapt as adapt
    from flowkd.store.store import Store as Store
    from flowkd.training.fit import distill as distill
    from flowkd.training.fit import fit as fit

__version__ = "0.1.0"

# What `import flowkd` gives, and where it lies: imported when it is first asked for, so that the
# import itself costs nothing.
_HOMES = {
    "Flow": "flowkd.flows.flow",
    "FlowkdError": "flowkd.errors",
    "Hint": "flowkd.distillation.hints",
    "LossWeights": "flowkd.distillation.schedules",
    "Store": "flowkd.store.store",
    "adapt": "flowkd.foreign.teachers",
    "autoregressive": "flowkd.flows.autoregressive",
    "bits_per_dim": "flowkd.evaluation.metrics",
    "convert": "flowkd.foreign.conversion",
    "coupling": "flowkd.flows.coupling",
    "distill": "flowkd.training.fit",
    "fit": "flowkd.training.fit",
    "for_inference": "flowkd.flows.inference",
    "glow": "flowkd.flows.glow",
    "load": "flowkd.api",
    "publish": "flowkd.api",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowkd' has no attribute {name!r}; it has {sorted(_HOMES)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
