"""Narrower networks of any depth, with residual blocks or without, and under masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from flowkd.distillation.warmstart.select import SHRINKAGE, Select, largest
from flowkd.nn import MADE, Conditioner, ResidualMLP
from flowkd.nn.made import ACTIVATIONS, Activation, Masked, Residual, unit_places

Linear = nn.Linear | Masked


@dataclass
class Block:
    """What a residual block adds: act, `first`, act, `last`, and a gate by the context, if any."""

    first: Linear
    last: Linear
    gate: nn.Linear | None = None


@dataclass
class Layers:
    """A network as layers: of a plain one each follows the last, else blocks add to one state.

    Attributes:
        first: Sees the columns, and the context.
        hidden: The layers between, of a plain one.
        blocks: Of a residual one.
        last: Gives the parameters.
        context: What the context adds after the first.
        act: Between layers.
        last_act: Before the last one.
        places: Given a width, the place of each unit in the order of the columns.
    """

    first: Linear
    last: Linear
    act: Callable[[Tensor], Tensor]
    places: Callable[[int], Tensor]
    last_act: Callable[[Tensor], Tensor]
    context: nn.Linear | None = None
    hidden: list[Linear] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def layers_of(network: Conditioner) -> Layers:
    """Returns the layers of a MADE of `masked_mlp`, or of a ResidualMLP."""
    if isinstance(network, ResidualMLP):
        blocks = [Block(each.first, each.last, each.gate) for each in network.layers()]
        return Layers(
            network.first, network.last, relu, lambda width: torch.zeros(width).long(),
            nn.Identity(), network.context, blocks=blocks,
        )  # fmt: skip
    assert isinstance(network, MADE)
    first, *middle, last = network.parts
    names = [each.name for each in network.modules() if isinstance(each, Activation)]
    assert isinstance(first, Masked)
    assert isinstance(last, Masked)
    inputs = network.inputs
    act = ACTIVATIONS[names[0]]
    found = Layers(first, last, act, lambda width: unit_places(inputs, width), act, first.context)
    for part in middle:
        if isinstance(part, Residual):
            into, out = (each for each in part.parts if isinstance(each, Masked))
            found.blocks.append(Block(into, out))
        elif isinstance(part, Masked):
            found.hidden.append(part)
    return found


@torch.no_grad()
def narrow_layers(
    large: Layers, small: Layers, x: Tensor, context: Tensor | None, select: Select
) -> None:
    """Sets a narrow network from a wide one: some units stay, and make up for the others.

    A unit may make up for those alone that depend on as many columns or more, so that masks hold.

    Args:
        large: Only read.
        small: As it, with fewer units; is changed.
        x: What the wide one sees, (B, D).
        context: Encoded context, (B, width); None for none.
        select: `most_telling`, or `largest`, which makes up for nothing.
    """
    state = of(large.first, x)
    if large.context is not None:
        state = state + large.context(context)
    if large.blocks:
        _narrow_residual(large, small, state, context, select)
    else:
        _narrow_plain(large, small, state, select)


def of(layer: Linear, x: Tensor) -> Tensor:
    """Returns what a layer makes of (B, I), without a context."""
    return nn.functional.linear(x, weight_of(layer), layer.bias)


def weight_of(layer: Linear) -> Tensor:
    """Returns the weights of a layer, zero where its mask is."""
    return layer.masked_weight() if isinstance(layer, Masked) else layer.weight


def _narrow_plain(large: Layers, small: Layers, state: Tensor, select: Select) -> None:
    units = [large.act(state)]
    for layer in large.hidden:
        units.append(large.act(of(layer, units[-1])))
    ours, theirs = [small.first, *small.hidden], [large.first, *large.hidden]
    above, weight = small.last, weight_of(large.last).double()
    bias: Tensor = large.last.bias
    read = weight
    for number in reversed(range(len(theirs))):
        keep, rebuild = _select(
            _products(units[number]), read, large.places(len(theirs[number].weight)),
            small.places(len(ours[number].weight)), select,
        )  # fmt: skip
        _set(above, weight @ rebuild, bias)
        weight = weight_of(theirs[number]).double()[keep]
        bias, above = theirs[number].bias[keep], ours[number]
        read = weight * (read @ rebuild).norm(dim=0)[:, None]
    _set(above, weight, bias)
    _keep_context(large, small, keep)


def _narrow_residual(
    large: Layers, small: Layers, state: Tensor, context: Tensor | None, select: Select
) -> None:
    products, inner = [], []
    for block in large.blocks:
        products.append(_products(large.act(state)))
        seen = of(block.first, large.act(state))
        if isinstance(block.first, Masked) and block.first.context is not None:
            seen = seen + block.first.context(context)
        units = large.act(seen)
        inner.append(_products(units))
        added = of(block.last, units)
        state = state + (added if block.gate is None else added * block.gate(context).sigmoid())
    products.append(_products(large.last_act(state)))
    readers = [*(block.first for block in large.blocks), large.last]
    # One choice of what the state keeps, by all that is read from it.
    together = torch.stack(products).sum(0)
    read = torch.cat([weight_of(each).double() for each in readers])
    places, ours = large.places(len(together)), small.places(len(small.first.weight))
    keep = _by_place(places, ours, _by(select, together, read))
    for number, block in enumerate(large.blocks):
        into, out = small.blocks[number].first, small.blocks[number].last
        rebuild = _rebuild(products[number], keep, places, ours, select)
        written = weight_of(block.last).double()[keep]
        kept, inside = _select(
            inner[number], written, large.places(len(block.first.weight)),
            small.places(len(into.weight)), select,
        )  # fmt: skip
        _set(into, weight_of(block.first).double()[kept] @ rebuild, block.first.bias[kept])
        _copy_rows(getattr(block.first, "context", None), getattr(into, "context", None), kept)
        _set(out, written @ inside, block.last.bias[keep])
        _copy_rows(block.gate, small.blocks[number].gate, keep)
    rebuild = _rebuild(products[-1], keep, places, ours, select)
    _set(small.last, weight_of(large.last).double() @ rebuild, large.last.bias)
    _set(small.first, weight_of(large.first).double()[keep], large.first.bias[keep])
    _keep_context(large, small, keep)


def _products(units: Tensor) -> Tensor:
    rows = units.double()
    return rows.T @ rows / len(rows)


def _select(
    products: Tensor, read: Tensor, theirs: Tensor, ours: Tensor, select: Select
) -> tuple[Tensor, Tensor]:
    """Returns which units stay, for each place of ours, and the matrix that makes all units."""
    keep = _by_place(theirs, ours, _by(select, products, read))
    return keep, _rebuild(products, keep, theirs, ours, select)


def _by(select: Select, products: Tensor, read: Tensor) -> Callable[[Tensor, int], Tensor]:
    """Returns what chooses some of a group of units."""
    return lambda group, count: select(products[group][:, group], read[:, group], count)[0]


def _by_place(theirs: Tensor, ours: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Chooses units of each place, as many as ours has; of a lower one where there are too few."""
    chosen: list[int] = []
    for place in ours.unique().tolist():
        count = int((ours == place).sum())
        free = torch.tensor([i for i in range(len(theirs)) if i not in set(chosen)])
        group = free[theirs[free] == place]
        if len(group) < count:
            lower = free[theirs[free] < place]
            group = torch.cat([lower[len(lower) - (count - len(group)) :], group])
        chosen += group[choose(group, count).cpu()].tolist()
    return torch.tensor(chosen)


def _rebuild(
    products: Tensor, keep: Tensor, theirs: Tensor, ours: Tensor, select: Select
) -> Tensor:
    """Returns the (H, count) matrix that makes units of those that stay, of no higher place."""
    rebuild = torch.zeros(len(theirs), len(keep)).to(products)
    ridge = SHRINKAGE * products.diagonal().mean().clamp_min(1e-12)
    for place in theirs.unique().tolist() if select is not largest else []:
        rows, columns = theirs == place, ours <= place
        seen = keep[columns]
        if len(seen):
            inner = products[seen][:, seen] + ridge * torch.eye(len(seen)).to(products)
            made = torch.linalg.solve(inner, products[seen][:, rows]).T
            places = columns.nonzero().flatten().to(made.device)
            rebuild[rows] = rebuild[rows].index_copy(1, places, made)
    exact = ours <= theirs[keep]
    rebuild[keep[exact]] = 0.0
    rebuild[keep[exact], exact.nonzero().flatten()] = 1.0
    return rebuild


def _set(layer: Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _keep_context(large: Layers, small: Layers, keep: Tensor) -> None:
    _copy_rows(large.context, small.context, keep)


def _copy_rows(theirs: nn.Linear | None, ours: nn.Linear | None, keep: Tensor) -> None:
    if theirs is None or ours is None:
        return
    ours.weight.copy_(theirs.weight[keep])
    if theirs.bias is not None:
        ours.bias.copy_(theirs.bias[keep])
