"""Every flow family: what `kind` a flow's config may be of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias, Union

from pydantic import Field

from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.glow import GlowConfig

# A new family is one more line here; all that reads a flow's config then knows its `kind`.
FAMILIES: tuple[type[FlowConfig], ...] = (
    GlowConfig,
    AutoregressiveConfig,
    ConvertedConfig,
    CouplingConfig,
)

if TYPE_CHECKING:
    AnyFlowConfig: TypeAlias = FlowConfig
else:
    AnyFlowConfig = Annotated[Union[FAMILIES], Field(discriminator="kind")]  # noqa: UP007
