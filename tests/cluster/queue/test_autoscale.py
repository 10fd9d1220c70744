"""A job that fits no node yet is accepted if one may come, and the cluster is asked for it."""

from __future__ import annotations

import json

import pytest
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.experimental.internal_kv import _internal_kv_get

from cluster.local_record import LocalCluster
from cluster.queue.config import NodeType, QueueConfig
from cluster.queue.dispatcher import Dispatcher
from cluster.queue.ray_jobs import RayJobs
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.spec import JobSpec
from cluster.queue.submission import submit
from flowkd.store.store import Store
from tests.support.small_cluster import COMMANDS, SmallCluster

GPU = {"CPU": 4.0, "GPU": 1.0}
CONFIG = QueueConfig(
    autoscaling_nodes=(NodeType(resources=GPU, max_nodes=2),), commands=dict(COMMANDS)
)
EACH = {"cpus": 1, "gpus": 1}


def job(name: str, **resources: float) -> JobSpec:
    values = {"id": name, "kind": "c", "resources": resources}
    return JobSpec.model_validate(values)


class GrowingCluster(SmallCluster):
    """Adds nodes when a test says so; there is no cloud here that could."""

    def __init__(self, records: QueueRecords) -> None:
        super().__init__(records, cpus=1)
        self.added: list[dict[str, float]] = []

    def nodes(self) -> list[dict[str, float]]:
        return [{"CPU": self.cpus}, *map(dict, self.added)]


def test_what_waits_first_is_asked_for_and_dropped_again(memory_store: Store) -> None:
    records = QueueRecords(memory_store)
    cluster = GrowingCluster(records)
    dispatcher = Dispatcher(records, cluster, CONFIG)
    dispatcher.tick()
    with pytest.raises(QueueError, match=r"'huge' would never start.*3 times 1 CPU, 1 GPU"):
        submit(records, job("huge", workers=3, **EACH))
    submit(records, job("pair", workers=2, **EACH))
    submit(records, job("single", **EACH))
    submit(records, job("small", cpus=1))
    dispatcher.tick()
    pair = [{"CPU": 1, "GPU": 1}] * 2
    assert cluster.asked == [{"CPU": 1}, *pair]  # of those that wait, for the first alone
    assert records.state("small").state == "starting"  # which wants nothing that pair waits for
    cluster.added = [GPU, GPU]
    dispatcher.tick()
    assert records.state("pair").state == "starting"
    kept = [{"CPU": 1}, *pair, {"CPU": 1, "GPU": 1}]
    assert sorted(cluster.asked, key=len) == kept  # what runs keeps its nodes
    for _ in range(12):
        cluster.step()
        dispatcher.tick()
    states = [records.state(name).state for name in ("pair", "single", "small")]
    assert states == ["succeeded"] * 3
    assert cluster.asked == []


def test_a_cluster_that_does_not_grow_is_not_asked(memory_store: Store) -> None:
    records = QueueRecords(memory_store)
    cluster = GrowingCluster(records)
    cluster.asked = [{"nothing": 1}]
    dispatcher = Dispatcher(records, cluster, QueueConfig(commands=dict(COMMANDS)))
    dispatcher.tick()
    with pytest.raises(QueueError, match="would never start"):
        submit(records, job("single", **EACH))
    submit(records, job("small", cpus=1))
    dispatcher.tick()
    assert cluster.asked == [{"nothing": 1}]


def test_rays_autoscaler_is_asked(
    ray_cluster: LocalCluster, ray_driver: None, memory_store: Store
) -> None:
    jobs = RayJobs(ray_cluster.dashboard, memory_store, CONFIG)
    for bundles in ([{"CPU": 1.0, "GPU": 1.0}] * 2, []):
        jobs.request_resources(bundles)
        noted = json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL))
        assert noted == bundles
    assert ray.is_initialized()
