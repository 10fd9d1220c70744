"""Of which family a student is: its teacher's, where that samples in one pass."""

from __future__ import annotations

from flowkd.flows.build import OF_DATA, build_flow, count_parameters, smaller, widest
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig

# What a student takes over of a flow of another family.
SHARED = (*OF_DATA, "context", "classes", "context_size")
LEAST_DEPTH = 4  # of couplings, each of which leaves half of the columns as they are


def like(larger: FlowConfig) -> FlowConfig:
    """Returns the flow that students of a larger one are made smaller from.

    It is the larger flow itself, unless its samples take a pass for each column, or its family has
    no sizes: then a flow of spline couplings with as many steps, whose log_prob and samples are
    one pass each. A coupling leaves half of the columns as they are, so it has at least 4.
    """
    if len(larger.event_shape or ()) != 1 or (_has_sizes(larger) and samples_in_one_pass(larger)):
        return larger
    depth, width = getattr(larger, "depth", LEAST_DEPTH), getattr(larger, "width", 128)
    return CouplingConfig(
        depth=max(LEAST_DEPTH, depth),
        width=width,
        transform="spline",
        **{key: getattr(larger, key) for key in SHARED},
    )


def samples_in_one_pass(config: FlowConfig) -> bool:
    """Tells whether a flow's samples take one pass of its networks, not one for each column."""
    return build_flow(config).one_pass["sample"]


def student_of(larger: FlowConfig, share: float) -> FlowConfig:
    """Returns a flow of at most a share of a larger one's parameters, whose samples are one pass.

    Raises:
        ValueError: A share of 0 or less, of 1 or more, or that leaves too little for a flow.
    """
    family = like(larger)
    if family is larger:
        return smaller(larger, share)
    if not 0 < share < 1:
        raise ValueError(f"expected a share of the parameters above 0 and below 1; got {share}")
    most = share * count_parameters(build_flow(larger))
    depth = family.depth if isinstance(family, CouplingConfig) else LEAST_DEPTH
    shallow = family.scaled(LEAST_DEPTH / depth, 1.0)
    try:
        return widest(family, most)
    except ValueError:
        return widest(shallow, most)


def _has_sizes(config: FlowConfig) -> bool:
    try:
        config.scaled(1.0, 1.0)
    except ValueError:
        return False
    return True
