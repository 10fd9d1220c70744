"""Ports that are chosen now are still free when a server listens a while later."""

from __future__ import annotations

import socket

import pytest

from cluster.ports import FIRST, LOOPBACK, free_ports


def test_no_outgoing_connection_is_given_them() -> None:
    """Of so many connections at once, none has a port of the range that they are chosen from."""
    chosen = free_ports(50)
    assert len(set(chosen)) == 50
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen(200)
        clients = [socket.create_connection(server.getsockname()) for _ in range(200)]
        outgoing = [client.getsockname()[1] for client in clients]
        for client in clients:
            client.close()
    if min(outgoing) < FIRST:
        pytest.skip("this machine gives outgoing connections almost all ports")
    assert max(chosen) < min(outgoing)


def test_what_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        (port,) = free_ports(1)
        taken.bind((LOOPBACK, port))
        monkeypatch.setattr("cluster.ports.FIRST", port)
        monkeypatch.setattr("cluster.ports._first_outgoing", lambda: port + 2)
        assert free_ports(1) == [port + 1]
        with pytest.raises(OSError, match="fewer than 2 ports are free"):
            free_ports(2)
