"""Whatever listens on a cluster that serves keeps to loopback, or asks for the cluster's token."""

from __future__ import annotations

import pickle

import grpc
import httpx
import psutil
from ray.serve.generated.serve_pb2 import ASGIRequest

from cluster.local_record import LocalCluster

LOCAL = ("127.", "::1", "::ffff:127.")
METHODS = ("HandleRequest", "HandleRequestStreaming", "HandleRequestWithRejection")


class Breaks:
    """What would leave a trace if somebody unpickled it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")


def listening(cluster: LocalCluster) -> dict[int, str]:
    """Returns the address of each port on which a process of the cluster listens."""
    found = {}
    for process in psutil.Process(cluster.pid).children(recursive=True):
        for each in process.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                found[each.laddr.port] = each.laddr.ip
    return found


def test_what_listens_to_the_network_unpickles_nothing_without_the_token(
    ray_client: httpx.Client, ray_cluster: LocalCluster, tmp_path
) -> None:
    assert ray_client.get("/healthz").status_code == 200
    ports = listening(ray_cluster)
    assert len(ports) > 5
    open_to_all = [port for port, address in ports.items() if not address.startswith(LOCAL)]
    trace = tmp_path / "trace"
    pickled = pickle.dumps(Breaks(str(trace)))
    request = ASGIRequest(
        pickled_request_metadata=pickled, request_args=pickled
    ).SerializeToString()
    for port in open_to_all:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for method in METHODS:
                call = channel.unary_unary(f"/ray.serve.ASGIService/{method}")
                for metadata in ((), (("authorization", "Bearer wrong"),)):
                    try:
                        call(request, timeout=10, metadata=metadata)
                        refused = False
                    except grpc.RpcError as error:
                        refused = error.code() == grpc.StatusCode.UNAUTHENTICATED
                    assert refused, (port, method)
    assert not trace.exists()
    assert open_to_all  # today a replica's; if it goes to loopback, this test has no more to show
