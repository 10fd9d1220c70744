"""The flow that is trained where a config names none: by a larger one, or else by the data."""

from __future__ import annotations

from flowkd.data.manifest import Manifest
from flowkd.errors import ConfigError
from flowkd.flows.build import describe_flow, smaller
from flowkd.flows.configs import AnyFlowConfig
from flowkd.registry.pins import PinnedArtifact
from flowkd.training.config import TrainingConfig
from flowkd.training.default_flow import default_flow


def with_flow(
    config: TrainingConfig,
    manifest: Manifest | None,
    larger: PinnedArtifact | None,
    notes: list[str],
) -> TrainingConfig:
    """Returns a config with a flow, chosen where it names none; what was chosen goes to notes.

    Args:
        config: The run as it was given.
        manifest: Of its data set; None to learn from the teacher's samples alone.
        larger: The flow that sets its size; None where none does.
        notes: What was chosen is appended, in words.

    Raises:
        ConfigError: A share that leaves too little for a flow; data that no default is known for.
    """
    if config.flow is not None:
        return config
    if larger is not None:
        flow = _smaller(config.objective.share, larger)
        share = f"{config.objective.share:g} of the parameters of {larger.reference}"
        notes.append(f"flow: {describe_flow(flow)}, at most {share}")
    else:
        assert manifest is not None
        flow = default_flow(manifest)
        notes.append(f"flow: {describe_flow(flow)}, for data set {manifest.name}")
    return config.model_copy(update={"flow": flow})


def _smaller(share: float, larger: PinnedArtifact) -> AnyFlowConfig:
    try:
        return smaller(larger.flow, share)
    except ValueError as error:
        raise ConfigError(f"objective.share: {error}") from error
