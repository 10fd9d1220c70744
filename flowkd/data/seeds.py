"""Seeds of random streams, by their names."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, stream: str, *numbers: int) -> int:
    """Returns the 63-bit seed of a named random stream; unequal arguments give unrelated seeds.

    It is a hash, because sums (seed + step, seed + rank) collide between streams.

    Examples:
        >>> derive_seed(0, "noise", 1) == derive_seed(0, "noise", 1)
        True
        >>> derive_seed(0, "noise", 1) == derive_seed(1, "noise", 0)
        False
    """
    key = ":".join([stream, *(str(int(number)) for number in (seed, *numbers))])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
