"""Seeds of independent random streams, derived from one seed."""

import hashlib


def derive_seed(seed: int, stream: str, *numbers: int) -> int:
    """Returns the 63-bit seed of a named stream; unequal arguments give unrelated seeds.

    A hash, because neighbouring seeds (seed + step, seed + rank) collide between streams.
    """
    key = ":".join([stream, *(str(int(number)) for number in (seed, *numbers))])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
