"""The plan: which fault meets which store, in which order, by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

Pair = tuple[str, str]


def make_plan(stores_of: Mapping[str, Sequence[str]], seed: int) -> list[Pair]:
    """Returns all pairs of a fault and a store: first each fault once, then each on the other.

    Args:
        stores_of: Where each fault can be, in the order of the first pass.
        seed: Chooses the store of the first pass.

    >>> make_plan({"kill": ("disk", "s3"), "cut": ("s3",)}, 0)
    [('kill', 's3'), ('cut', 's3'), ('kill', 'disk')]
    """
    choice = random.Random(seed)
    first = [(fault, choice.choice(stores)) for fault, stores in stores_of.items()]
    others = [(fault, store) for fault, stores in stores_of.items() for store in stores]
    return first + [pair for pair in others if pair not in first]
