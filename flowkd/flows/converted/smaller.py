"""Smaller converted layers: narrower networks, and linear maps in place of some."""

from __future__ import annotations

from collections.abc import Sequence

from flowkd.flows.converted.layers import (
    AutoregressiveLayer,
    CouplingLayer,
    LayerConfig,
    LinearLayer,
    NormLayer,
)
from flowkd.flows.converted.nets import (
    BesideNet,
    ConstantNet,
    DenseNet,
    LinearStep,
    MaskedNet,
    Net,
    PictureNet,
    ResidualPictureNet,
    ResidualStep,
    Step,
)
from flowkd.flows.family import group_bounds

NetworkLayer = CouplingLayer | AutoregressiveLayer
AnyLayerNet = Net | MaskedNet
Pair = tuple[LayerConfig, list[LayerConfig]]


def scaled_layers(
    layers: Sequence[LayerConfig], shape: Sequence[int], depth: float, width: float
) -> list[LayerConfig]:
    """Returns layers of a share of the networks, each with a share of its hidden units.

    Of each even group of networks the last stays. The others become matrices and shifts, by which
    what is dropped can be made up for.

    Args:
        layers: The first nearest to the data.
        shape: Event shape of the data.
        depth: Share of the networks that stay, at least one.
        width: Share of the hidden units of each, at least one.
    """
    numbers = [number for number, layer in enumerate(layers) if isinstance(layer, NetworkLayer)]
    count = min(max(1, round(depth * len(numbers))), len(numbers))
    stay = {numbers[stop - 1] for _, stop in group_bounds(count, len(numbers))} if numbers else ()
    made: list[LayerConfig] = []
    channels = shape[0]
    for number, layer in enumerate(layers):
        if layer.kind == "squeeze":
            channels *= 4
        if not isinstance(layer, NetworkLayer):
            made.append(layer)
        elif number in stay:
            made.append(layer.model_copy(update={"net": scaled_net(layer.net, width)}))
        else:
            made += linear_in_place(layer, layer.channels or channels)
    return made


def linear_in_place(layer: LayerConfig, size: int) -> list[LayerConfig]:
    """Returns a matrix and a shift over the channels that a layer maps."""
    found = {"size": size, "channels": layer.channels}
    return [LinearLayer.model_validate(found), NormLayer.model_validate(found)]


def scaled_net(net: AnyLayerNet, width: float) -> AnyLayerNet:
    """Returns a network of a share of the hidden units."""
    if isinstance(net, ConstantNet | ResidualPictureNet):
        return net
    if isinstance(net, PictureNet):
        sizes = {key: _scaled(getattr(net, key), width) for key in ("width", "inner")}
        return net.model_copy(update=sizes)
    if isinstance(net, BesideNet):
        networks = tuple(scaled_net(each, width) for each in net.networks)
        return net.model_copy(update={"networks": networks})
    return net.model_copy(update={"steps": _scaled_steps(net, width)})


def _scaled(size: int, width: float) -> int:
    return max(1, round(size * width))


def _scaled_steps(net: DenseNet | MaskedNet, width: float) -> tuple[Step, ...]:
    last = max(number for number, step in enumerate(net.steps) if isinstance(step, LinearStep))
    size, made = net.inputs, list[Step]()
    for number, step in enumerate(net.steps):
        if isinstance(step, LinearStep):
            size = step.outputs if number == last else _scaled(step.outputs, width)
            step = step.model_copy(update={"outputs": size})
        elif isinstance(step, ResidualStep) and number < last:
            step = step.model_copy(update={"steps": _scaled_within(step, size, width)})
        made.append(step)
    return tuple(made)


def _scaled_within(block: ResidualStep, size: int, width: float) -> tuple[Step, ...]:
    """Returns the steps of a residual block that keeps so many values."""
    linear = [number for number, step in enumerate(block.steps) if isinstance(step, LinearStep)]
    return tuple(
        step.model_copy(
            update={"outputs": size if number == linear[-1] else _scaled(step.outputs, width)}
        )
        if isinstance(step, LinearStep)
        else step
        for number, step in enumerate(block.steps)
    )


def paired(ours: Sequence[LayerConfig], theirs: Sequence[LayerConfig]) -> list[Pair]:
    """Returns each of some layers with what of smaller ones stands for it: itself, or a matrix.

    Raises:
        ValueError: Layers that no smaller networks, and no matrices in place of them, lead to.
    """
    rest, found = list(ours), list[Pair]()
    for number, layer in enumerate(theirs):
        stands = rest[:1]
        dropped = isinstance(layer, NetworkLayer) and stands and stands[0].kind == "linear"
        if dropped:
            stands = rest[:2]
        if not (_is_linear(stands, layer) if dropped else stands and fits(stands[0], layer)):
            got = stands[0].kind if stands else "none"
            raise ValueError(
                f"expected layers as its source's, with at most as many hidden units, or linear "
                f"and norm in place of one with a network; got {got} for layer {number}, "
                f"{layer.kind}: take the config that `share` gives"
            )
        rest = rest[len(stands) :]
        found.append((layer, stands))
    if rest:
        raise ValueError(
            f"expected no more layers than its source's {len(theirs)}; got {len(rest)} more: take "
            f"the config that `share` gives"
        )
    return found


def _is_linear(stands: Sequence[LayerConfig], layer: LayerConfig) -> bool:
    kinds = [each.kind for each in stands]
    return kinds == ["linear", "norm"] and {each.channels for each in stands} == {layer.channels}


def fits(ours: LayerConfig, theirs: LayerConfig) -> bool:
    """Tells whether a layer is another, but for fewer hidden units."""
    if type(ours) is not type(theirs):
        return False
    if not isinstance(ours, NetworkLayer) or not isinstance(theirs, NetworkLayer):
        return ours == theirs
    same = ours.model_copy(update={"net": theirs.net}) == theirs
    return same and _form(ours.net) == _form(theirs.net) and not _wider(ours.net, theirs.net)


def _form(net: AnyLayerNet) -> AnyLayerNet:
    """Returns a network with one hidden unit a layer, which tells all but its sizes."""
    return scaled_net(net, 0.0)


def _wider(ours: AnyLayerNet, theirs: AnyLayerNet) -> bool:
    pairs = zip(widths(ours), widths(theirs), strict=True)
    return any(small > large for small, large in pairs)


def hidden(net: AnyLayerNet) -> list[int]:
    """Returns how many hidden units each layer of a network has."""
    return [net.width] if isinstance(net, ResidualPictureNet) else widths(net)


def widths(net: AnyLayerNet) -> list[int]:
    """Returns how many hidden units each layer of a network has that can have fewer."""
    if isinstance(net, PictureNet):
        return [net.width, net.inner]
    if isinstance(net, BesideNet):
        return [size for each in net.networks for size in widths(each)]
    if isinstance(net, ConstantNet | ResidualPictureNet):
        return []  # none that can be fewer
    within = [step.steps if isinstance(step, ResidualStep) else (step,) for step in net.steps]
    linear = [step for steps in within for step in steps if isinstance(step, LinearStep)]
    return [step.outputs for step in linear[:-1]]
