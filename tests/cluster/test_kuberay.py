"""The Kubernetes manifest holds its published schemas, and what flowkd promises of a cluster."""

import copy
import json
import os
import re
import subprocess
import sys
import time

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr as autoscaling_config,
)
from ray.autoscaler._private.util import validate_config
from ray.scripts.scripts import healthcheck
from ray.scripts.scripts import start as ray_start
from ray.serve.scripts import cli

from cluster.queue.config import QueueConfig
from cluster.serve.door import ENVIRONMENT
from tests.support import ROOT
from tests.support.kuberay_api import RayCluster

FILE = ROOT / "cluster" / "kuberay.yaml"
KUBERNETES = "1.31"


@pytest.fixture
def manifest():
    return list(yaml.safe_load_all(FILE.read_text(encoding="utf-8")))


def ray_cluster(manifest):
    (found,) = [each for each in manifest if each["kind"] == "RayCluster"]
    return found


def groups(manifest):
    spec = ray_cluster(manifest)["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def check(manifest):
    """Holds every part against its schema."""
    for each in manifest:
        if each["kind"] != "RayCluster":
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
    RayCluster.model_validate(ray_cluster(manifest))
    for group in groups(manifest):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def autoscaled(manifest):
    """Returns what Ray's autoscaler makes of it."""
    given = copy.deepcopy(ray_cluster(manifest))
    given["metadata"]["namespace"] = "default"  # as the server fills it in
    found = autoscaling_config(given)
    validate_config(found)
    return found


def containers(manifest):
    return [group["template"]["spec"]["containers"][0] for group in groups(manifest)]


def data(manifest, name):
    return next(each["data"] for each in manifest if each["metadata"]["name"] == name)


def pinned(name):
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    return next(pin.split("==")[1] for pin in pins if pin.startswith(f"{name}=="))


def started(manifest, folder):
    """Runs the head's hook with programs that only record, of which each fails at first."""
    (script,) = containers(manifest)[0]["lifecycle"]["postStart"]["exec"]["command"][2:]
    record = folder / "record.jsonl"
    for name in ("ray", "serve", "python"):
        stub = folder / name
        stub.write_text(
            f"#!{sys.executable}\n"
            "import json, os, pathlib, sys\n"
            f"with open({str(record)!r}, 'a') as file:\n"
            f"    print(json.dumps([{name!r}, sys.argv[1:], dict(os.environ)]), file=file)\n"
            f"before = pathlib.Path({str(folder / name)!r} + '.failed')\n"
            "again = before.exists()\n"
            "before.touch()\n"
            "sys.exit(0 if again else 1)\n"
        )
        stub.chmod(0o755)
    sleep, ended = folder / "sleep", folder / "ended"
    sleep.write_text(f"#!/bin/sh\nuntil [ -e {ended} ]; do /bin/sleep 0.05; done\n")
    sleep.chmod(0o755)
    script = script.replace("/tmp/flowkd-start.log", str(folder / "log"))
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    try:  # it ends while the first program still fails: the container waits for it
        subprocess.run(["bash", "-c", script], env=env, check=True, timeout=120)
    finally:
        ended.touch()
    deadline = time.monotonic() + 60
    while not record.exists() or len(record.read_text().splitlines()) < 6:
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_holds_the_published_schemas(manifest):
    check(manifest)
    autoscaled(manifest)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found[0].update(datas={}),
        lambda found: ray_cluster(found)["spec"].update(autoscaling=True),
        lambda found: groups(found)[1].update(minReplicas="none"),
        lambda found: containers(found)[0].update(envsFrom=[]),
        lambda found: containers(found)[1]["resources"].update(limit={"cpu": "1"}),
        lambda found: groups(found)[0]["template"]["spec"].update(volume=[]),
    ],
    ids=["config", "cluster", "group", "container", "resources", "pod"],
)
def test_the_schemas_refuse_a_spoilt_file(manifest, spoil):
    spoil(manifest)
    with pytest.raises((kubernetes_validate.ValidationError, ValidationError)):
        check(manifest)


def test_the_head_offers_no_cpu_and_no_gpu(manifest):
    found = autoscaled(manifest)
    head = found["available_node_types"][found["head_node_type"]]["resources"]
    assert (head["CPU"], head.get("GPU", 0)) == (0, 0)
    launcher = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))
    assert head["CPU"] == launcher["available_node_types"]["head"]["resources"]["CPU"]
    selector = groups(manifest)[0]["template"]["spec"]["nodeSelector"]
    assert selector == {"karpenter.sh/capacity-type": "on-demand"}, "job drivers live on the head"


def test_workers_come_with_the_work(manifest):
    assert ray_cluster(manifest)["spec"]["enableInTreeAutoscaling"] is True
    for group in groups(manifest)[1:]:
        name = group["groupName"]
        assert group["minReplicas"] == group["replicas"] == 0, f"{name} costs money while idle"
        assert group["maxReplicas"] >= 1
        kind = group["template"]["spec"]["nodeSelector"]["karpenter.sh/capacity-type"]
        assert group["labels"]["ray.io/market-type"] == kind


def test_the_dispatcher_asks_for_the_workers_that_there_are(manifest):
    config = QueueConfig.model_validate(
        yaml.safe_load(data(manifest, "flowkd-queue")["queue.yaml"])
    )
    found = autoscaled(manifest)
    kinds = [
        {
            "resources": {k: n for k, n in node["resources"].items() if k in ("CPU", "GPU")},
            "max_nodes": node["max_workers"],
        }
        for name, node in found["available_node_types"].items()
        if name != found["head_node_type"]
    ]
    assert [kind.model_dump() for kind in config.autoscaling_nodes] == kinds


def test_the_queue_and_serve_start_with_the_head(manifest, tmp_path):
    calls = started(manifest, tmp_path)
    assert [name for name, _, _ in calls] == ["ray", "ray", "python", "python", "serve", "serve"]
    for _, _, env in calls[2:]:
        assert env["RAY_ADDRESS"] == "127.0.0.1:6379"
        assert env["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:8265"
    health, dispatcher, serve = (argv for _, argv, _ in calls[::2])
    assert health[0] == "health-check"
    healthcheck.make_context("health-check", health[1:])
    assert dispatcher == ["-m", "jobs.dispatcher", "--config", "/etc/flowkd/queue.yaml"]
    (mount,) = containers(manifest)[0]["volumeMounts"]
    (volume,) = groups(manifest)[0]["template"]["spec"]["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/etc/flowkd")
    assert "queue.yaml" in data(manifest, volume["configMap"]["name"])
    assert "--http-host=127.0.0.1" in serve
    assert ENVIRONMENT.items() <= data(manifest, "flowkd-environment").items()
    cli.commands["start"].make_context("start", serve[1:])


def test_ray_knows_every_option_and_the_dashboard_is_on_loopback(manifest):
    for group in groups(manifest):
        argv = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        parsed = ray_start.make_context("ray start", argv).params
        if "groupName" not in group:
            assert (parsed["dashboard_host"], parsed["port"]) == ("127.0.0.1", 6379)
            assert group["serviceType"] == "ClusterIP"


def test_only_the_clusters_own_pods_reach_it(manifest):
    (policy,) = [each["spec"] for each in manifest if each["kind"] == "NetworkPolicy"]
    own = {"matchLabels": {"ray.io/cluster": ray_cluster(manifest)["metadata"]["name"]}}
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["podSelector"] == own
    assert policy["ingress"] == [{"from": [{"podSelector": own}]}]


def test_the_token_is_asked_for_and_no_secret_is_in_the_file(manifest):
    assert ray_cluster(manifest)["spec"]["authOptions"]["mode"] == "token"
    assert "Secret" not in {each["kind"] for each in manifest}
    known = data(manifest, "flowkd-environment")
    assert not [name for name in known if re.search("KEY|TOKEN|PASSWORD|SECRET", name)]
    assert re.fullmatch(r"s3://[a-z0-9.-]+/\S+", known["FLOWKD_STORE"])
    for container in containers(manifest):
        assert "env" not in container
        assert [next(iter(each.values()))["name"] for each in container["envFrom"]] == [
            "flowkd-environment",
            "flowkd-s3",
        ]


def test_every_node_has_the_pinned_ray(manifest):
    version = pinned("ray")
    assert ray_cluster(manifest)["spec"]["rayVersion"] == version
    images = {container["image"] for container in containers(manifest)}
    assert {image.rsplit(":", 1)[1] for image in images} == {f"ray-{version}"}
    recipe = (ROOT / "cluster" / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)$", recipe, re.M) == [f"rayproject/ray:{version}-py311-gpu"]
    copied = re.findall(r"^COPY --chown=\S+ (\w+) /opt/flowkd/\1$", recipe, re.M)
    assert set(copied) == {"flowkd", "cluster", "tuning", "jobs"}
    assert re.search(r"pip install .*'\.\[cluster,aws,onnx\]' -c constraints.txt", recipe)
