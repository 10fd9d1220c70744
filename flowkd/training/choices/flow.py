"""The flow that is trained where a config names none: by a larger one, or else by the data."""

from __future__ import annotations

from flowkd.data.manifest import Manifest
from flowkd.errors import ConfigError
from flowkd.flows.build import describe_flow, smaller
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.family import FlowConfig
from flowkd.registry.pins import PinnedArtifact
from flowkd.store.store import Store
from flowkd.training.choices.default_flow import default_flow
from flowkd.training.choices.picture_size import Budget
from flowkd.training.choices.timed_shape import timed_shape
from flowkd.training.config import TrainingConfig


def with_flow(
    config: TrainingConfig,
    manifest: Manifest | None,
    larger: PinnedArtifact | None,
    notes: list[str],
    store: Store | None = None,
) -> TrainingConfig:
    """Returns a config with a flow, chosen where it names none; what was chosen goes to notes.

    Args:
        config: The run as it was given.
        manifest: Of its data set; None to learn from the teacher's samples alone.
        larger: The flow that sets its size; None where none does.
        notes: What was chosen is appended, in words.
        store: Keeps what was measured, so that it is measured once; default none.

    Raises:
        ConfigError: A share that leaves too little for a flow; a throughput that no shape has; data
            that no default is known for.
    """
    if config.flow is not None:
        return config
    size = config.objective
    if larger is not None and size.throughput is not None:
        timed = timed_shape(larger.flow, size.throughput, store)
        flow = timed.flow
        notes.append(f"flow, beside {larger.reference}: {timed}{_why(flow, larger.flow)}")
    elif larger is not None:
        flow = _smaller(size.parameters_share, larger)
        share = f"{size.parameters_share:g} of the parameters of {larger.reference}"
        notes.append(f"flow: {describe_flow(flow)}, at most {share}{_why(flow, larger.flow)}")
    else:
        assert manifest is not None
        scaling = config.scaling
        budget = Budget(
            config.minutes, config.batch_size, scaling.workers, scaling.cpus, scaling.gpu
        )
        flow, why, steps = default_flow(manifest, budget)
        notes.append(f"flow: {describe_flow(flow)}, for data set {manifest.name}: {why}")
        plateau = config.train.plateau
        if steps is not None and plateau is not None and plateau.most_steps is None:
            config = config.model_copy(
                update={"train": config.train.with_plateau(most_steps=steps)}
            )
    return config.model_copy(update={"flow": flow})


def _smaller(share: float, larger: PinnedArtifact) -> AnyFlowConfig:
    try:
        return smaller(larger.flow, share)
    except ValueError as error:
        raise ConfigError(f"objective.share: {error}") from error


def _why(flow: FlowConfig, larger: FlowConfig) -> str:
    """Returns why a student is of another family than the flow that it follows, if it is."""
    if flow.kind == larger.kind:
        return ""
    return f"; one pass each way, where flows of kind {larger.kind} are slow in one"
