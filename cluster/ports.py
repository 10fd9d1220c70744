"""Free ports of this machine, for servers that are started a while after they are chosen."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST = 20_000  # above those that Ray gives to its workers
USUAL = 32_768
OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Returns ports on loopback that are free, and that no outgoing connection is given meanwhile.

    Args:
        count: How many.

    Raises:
        OSError: So many are not free.
    """
    choices = list(range(FIRST, _first_outgoing()))
    random.SystemRandom().shuffle(choices)
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            if not choices:
                raise OSError(f"fewer than {count} ports are free from {FIRST} on")
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, choices.pop()))
                found.append(probe.getsockname()[1])
        return found


def _first_outgoing() -> int:
    """Returns the first port that the kernel gives to outgoing connections.

    Where it gives almost all, none is safe, and those below its usual ones are as good as any.
    """
    try:
        first = int(OUTGOING.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        first = USUAL
    return first if first > FIRST + 1000 else USUAL
