"""Which of a bijector's directions take one pass of its networks, and which one for each column."""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple

from flowkd.bijectors import Bijector
from flowkd.bijectors.autoregressive import Autoregressive, Inverted


class OnePass(NamedTuple):
    """Whether each direction takes one pass of every network.

    Attributes:
        encode: From data to latents, and log_prob.
        decode: From latents to data: sampling.
    """

    encode: bool
    decode: bool


@singledispatch
def one_pass(bijector: Bijector) -> OnePass:
    """Returns which directions of a bijector take one pass: those that all of its parts do in one.

    A family registers its own: `@one_pass.register`.

    Example:
        >>> from flowkd.nn import masked_mlp
        >>> one_pass(Inverted(Autoregressive(masked_mlp(3, 6, 8))))
        OnePass(encode=False, decode=True)
    """
    parts = [one_pass(part) for part in bijector.children() if isinstance(part, Bijector)]
    return OnePass(all(part.encode for part in parts), all(part.decode for part in parts))


@one_pass.register
def _(bijector: Autoregressive) -> OnePass:
    return OnePass(encode=True, decode=int(bijector.conditioner.levels().max()) == 0)


@one_pass.register
def _(bijector: Inverted) -> OnePass:
    return OnePass(*reversed(one_pass(bijector.bijector)))
