"""Narrower networks of layers one after the other, as other libraries have them, masks and all.

Units that a residual block adds to are one group, for they stay, or go, together. Of each group
some units stay, and what reads it gets weights, and a bias, by which they make up for the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flowkd.distillation.warmstart.select import SHRINKAGE, most_telling
from flowkd.nn import MADE, Conditioner
from flowkd.nn.dense import Beside, Dense, Layer
from flowkd.nn.made import Masked, Residual

INPUTS = 0


@dataclass
class Link:
    """A linear layer between two groups of units.

    Attributes:
        large: The wide one.
        small: As it, narrower.
        values: What it is given, (B, units).
        depends: (units, columns): on which columns each of these depends.
        source: Group that it reads.
        target: Group that it writes.
    """

    large: Layer | Masked
    small: Layer | Masked
    values: Tensor
    depends: Tensor
    source: int
    target: int


@dataclass
class Groups:
    """The layers of a network, and its groups of units in the order in which they begin.

    Attributes:
        links: In order.
        gates: Linear maps of the context, the narrow one second, with the group that each gates.
        depends: Of each group, on which columns its units depend, (units, columns).
    """

    links: list[Link] = field(default_factory=list)
    gates: list[tuple[nn.Linear, nn.Linear, int]] = field(default_factory=list)
    depends: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def narrow_groups(
    large: Conditioner, small: Conditioner, x: Tensor, context: Tensor | None
) -> None:
    """Sets a narrow network from a wide one.

    Args:
        large: A Dense, a MADE, or several beside each other; only read.
        small: As it, with fewer hidden units; is changed, its masks too.
        x: What the wide one sees, (B, columns).
        context: Context vectors, (B, c); None for none.
    """
    if isinstance(large, Beside) and isinstance(small, Beside):
        for ours, theirs in zip(small.networks, large.networks, strict=True):
            assert isinstance(ours, Conditioner)
            assert isinstance(theirs, Conditioner)
            narrow_groups(theirs, ours, x, context)
        return
    if not isinstance(large, Dense | MADE) or not isinstance(small, Dense | MADE):
        small.load_state_dict(large.state_dict())  # parameters for every row
        return
    masked = isinstance(large, MADE)
    every = torch.eye(x.shape[1]) if masked else torch.zeros(x.shape[1], 1)
    groups = Groups(depends=[every.bool()])
    _walk(groups, large.parts, small.parts, INPUTS, x, every.bool(), context)
    keep = _kept(groups)
    for link in groups.links:
        _set(link, keep[link.source], keep[link.target], groups.depends[link.target])
    for theirs, ours, group in groups.gates:
        _copy_rows(theirs, ours, keep[group])


def _walk(
    groups: Groups,
    large: Iterable[nn.Module],
    small: Iterable[nn.Module],
    group: int,
    values: Tensor,
    depends: Tensor,
    context: Tensor | None,
) -> tuple[int, Tensor, Tensor]:
    """Adds layers in turn; returns the last group, its values, and what these depend on."""
    for theirs, ours in zip(large, small, strict=True):
        if isinstance(theirs, Layer | Masked):
            assert isinstance(ours, Layer | Masked)
            target = len(groups.depends)
            groups.links.append(Link(theirs, ours, values, depends, group, target))
            if isinstance(theirs, Masked):
                depends = theirs.mask.cpu().float() @ depends.float() > 0
            else:
                depends = torch.zeros(len(_weight(theirs)), 1, dtype=torch.bool)
            groups.depends.append(depends)
            group = target
        if not isinstance(theirs, Residual):
            values = theirs(values, context)
            continue
        assert isinstance(ours, Residual)
        inner, added, of_inner = _walk(
            groups, theirs.parts, ours.parts, group, values, depends, context
        )
        for link in groups.links:
            if link.target == inner:
                link.target = group
        gate = theirs.gate_of(context)
        values = values + (added if gate is None else added * gate)
        depends = depends | of_inner
        groups.depends[group] = depends
        if theirs.gate is not None and ours.gate is not None:
            groups.gates.append((theirs.gate, ours.gate, group))
    return group, values, depends


def _kept(groups: Groups) -> dict[int, Tensor]:
    """Returns which units of each group stay: of the group that is read last, first."""
    ends = {INPUTS, groups.links[-1].target}
    keep = {end: torch.arange(len(groups.depends[end])) for end in ends}
    weighed = {end: torch.ones(len(keep[end])).double() for end in ends}
    last_read = {link.source: number for number, link in enumerate(groups.links)}
    for group in sorted(last_read.keys() - ends, key=last_read.__getitem__, reverse=True):
        reads = [link for link in groups.links if link.source == group]
        products = torch.stack([_products(_centred(link.values)[0]) for link in reads]).sum(0)
        weights = []
        for link in reads:
            weight = _weight(link.large).double()
            if link.target in keep:
                of_unit = weighed[link.target].to(weight)[:, None]
                weight = weight[keep[link.target]] * of_unit
            weights.append(weight)
        read = torch.cat(weights)
        count = len(_weight(next(link for link in groups.links if link.target == group).small))
        keep[group] = _by_dependence(products, read, groups.depends[group], count)
        weighed[group] = (read @ _rebuilt(products, keep[group], groups.depends[group])).norm(dim=0)
    return keep


def _by_dependence(products: Tensor, read: Tensor, depends: Tensor, count: int) -> Tensor:
    """Chooses so many units, an equal share of those that depend on the same columns."""
    if count == len(depends):
        return torch.arange(count)
    _, kind = torch.unique(depends, dim=0, return_inverse=True)
    sizes = torch.bincount(kind)
    shares = sizes * count / len(depends)
    counts = shares.floor().long()
    # What is left goes to those who are shortest of it, first to those who have none.
    short = ((shares - counts) + (counts == 0).double()).argsort(descending=True, stable=True)
    counts[short[: count - int(counts.sum())]] += 1
    chosen: list[int] = []
    for number, size in enumerate(counts.tolist()):
        members = (kind == number).nonzero().flatten()
        if size:
            best, _ = most_telling(products[members][:, members], read[:, members], size)
            chosen += members[best.cpu()].tolist()
    return torch.tensor(sorted(chosen))


def _rebuilt(products: Tensor, keep: Tensor, depends: Tensor) -> Tensor:
    """Returns the (H, count) matrix that makes all units, less their means, of those that stay.

    Of a unit, those alone make up that depend on no column that it does not depend on.
    """
    rebuild = torch.zeros(len(depends), len(keep)).to(products)
    ridge = SHRINKAGE * products.diagonal().mean().clamp_min(1e-12)
    kinds, kind = torch.unique(depends, dim=0, return_inverse=True)
    for number, columns in enumerate(kinds):
        may = (depends[keep] <= columns).all(1).nonzero().flatten()
        rows = (kind == number).nonzero().flatten()
        if not len(may):
            continue
        seen = keep[may]
        inner = products[seen][:, seen] + ridge * torch.eye(len(seen)).to(products)
        made = torch.linalg.solve(inner, products[seen][:, rows]).T
        rebuild[rows[:, None], may] = made
    rebuild[keep] = torch.eye(len(keep)).to(rebuild)
    return rebuild


def _set(link: Link, inputs: Tensor, outputs: Tensor, depends: Tensor) -> None:
    """Writes a narrow layer: which of its inputs and outputs stay is known."""
    weight, bias = (each.double()[outputs] for each in (_weight(link.large), _bias(link.large)))
    if len(inputs) < weight.shape[1]:
        centred, means = _centred(link.values)
        rebuild = _rebuilt(_products(centred), inputs, link.depends)
        # What units are on the average depends on no column: it may be made up for anywhere.
        bias = bias + weight @ (means - rebuild @ means[inputs])
        weight = weight @ rebuild
    if isinstance(link.small, Masked) and isinstance(link.large, Masked):
        if len(inputs) == len(link.depends):
            mask = link.large.mask[outputs]
        else:
            within = link.depends[inputs] <= depends[outputs][:, None]
            mask = within.all(2).to(link.large.mask)
        link.small.mask.copy_(mask)
        link.small.weight.copy_(weight)
    elif isinstance(link.small, Layer):
        link.small.linear.weight.copy_(weight)
    _bias(link.small).copy_(bias)
    _copy_rows(link.large.context, link.small.context, outputs)


def _weight(layer: Layer | Masked) -> Tensor:
    return layer.masked_weight() if isinstance(layer, Masked) else layer.linear.weight


def _bias(layer: Layer | Masked) -> Tensor:
    return layer.bias if isinstance(layer, Masked) else layer.linear.bias


def _centred(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns values less their means, and these, in float64."""
    rows = values.double()
    means = rows.mean(0)
    return rows - means, means


def _products(rows: Tensor) -> Tensor:
    return rows.T @ rows / len(rows)


def _copy_rows(theirs: nn.Linear | None, ours: nn.Linear | None, keep: Tensor) -> None:
    if theirs is not None and ours is not None:
        ours.weight.copy_(theirs.weight[keep])
        if theirs.bias is not None:
            ours.bias.copy_(theirs.bias[keep])
