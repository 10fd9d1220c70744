"""The cluster-launcher file holds Ray's schema, and what flowkd promises of a cluster."""

import copy
import importlib.resources
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.serve.scripts import cli

from cluster.queue.config import QueueConfig
from cluster.serve.door import ENVIRONMENT
from flowkd.config import load_config
from jobs import dispatcher as dispatcher_of_jobs
from tests.support import ROOT

FILE = ROOT / "ray_cluster.yaml"
TOKEN = "~/.ray/auth_token"


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema():
    text = importlib.resources.files("ray.autoscaler").joinpath("ray-schema.json").read_text()
    return json.loads(text)


def environment(cluster):
    """What the containers of every node have in their environment."""
    options = [shlex.split(option) for option in cluster["docker"]["run_options"]]
    words = [word for option in options for word in option]
    values = [word.removeprefix("--env=") for word in words if word.startswith("--env=")]
    return dict(value.split("=", 1) for value in values)


def started(cluster, role, folder):
    """Returns the arguments and the environment of a role's only `ray start`."""
    calls = called(cluster, role, folder)
    starts = [(argv[1:], env) for name, argv, env in calls if (name, argv[0]) == ("ray", "start")]
    assert len(starts) == 1, f"expected one `ray start` in {role}_start_ray_commands; got {calls}"
    return starts[0]


def called(cluster, role, folder):
    """Runs a role's start commands with programs that only record: arguments, environment.

    The commands go through the same kind of shell as on a node, so that quoting, line breaks and
    variables are what they would be there.
    """
    record = folder / "record.jsonl"
    record.unlink(missing_ok=True)
    for name in ("ray", "serve", "python"):
        stub = folder / name
        stub.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            f"with open({str(record)!r}, 'a') as file:\n"
            f"    print(json.dumps([{name!r}, sys.argv[1:], dict(os.environ)]), file=file)\n"
        )
        stub.chmod(0o755)
    env = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(folder),
        "RAY_HEAD_IP": "10.0.0.1",
        **environment(cluster),
    }
    for command in cluster[f"{role}_start_ray_commands"]:
        subprocess.run(["bash", "-c", command], env=env, check=True, timeout=60)
    return [json.loads(line) for line in record.read_text().splitlines()]


def option(argv, name):
    values = [word.split("=", 1)[1] for word in argv if word.startswith(f"--{name}=")]
    assert len(values) == 1, f"expected --{name}=... once in {argv}"
    return values[0]


def pinned(name):
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    return next(pin.split("==")[1] for pin in pins if pin.startswith(f"{name}=="))


def workers(cluster):
    head = cluster["head_node_type"]
    return {name: node for name, node in cluster["available_node_types"].items() if name != head}


def test_holds_rays_schema(cluster, schema):
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(cluster, schema)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cluster: cluster.update(gpu_workers=2),
        lambda cluster: cluster["docker"].update(images="x"),
        lambda cluster: cluster["available_node_types"]["gpu"].update(min_workers="none"),
        lambda cluster: cluster["available_node_types"]["head"].pop("resources"),
    ],
    ids=["unknown key", "unknown docker key", "workers not a number", "no resources"],
)
def test_the_schema_refuses_a_spoilt_file(cluster, schema, spoil):
    spoilt = copy.deepcopy(cluster)
    spoil(spoilt)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema)


def test_the_launcher_accepts_it(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    least = {name: node["min_workers"] for name, node in prepared["available_node_types"].items()}
    assert set(least.values()) == {0}
    assert prepared["setup_commands"] == cluster["setup_commands"]


def test_the_head_offers_no_cpu_and_no_gpu(cluster, tmp_path):
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"].get("CPU") == 0
    assert head["resources"].get("GPU", 0) == 0
    assert "InstanceMarketOptions" not in head["node_config"], "job drivers live on the head"
    argv, _ = started(cluster, "head", tmp_path)
    assert option(argv, "num-cpus") == "0"
    assert option(argv, "num-gpus") == "0"


def test_workers_come_with_the_work(cluster):
    found = workers(cluster)
    assert any(node["resources"].get("GPU", 0) >= 1 for node in found.values())
    for name, node in found.items():
        assert node["min_workers"] == 0, f"{name} costs money while idle"
        assert 1 <= node["max_workers"] <= cluster["max_workers"]
        assert "IamInstanceProfile" in node["node_config"], f"{name} cannot reach the store"


def test_the_dashboard_listens_on_loopback_only(cluster, tmp_path):
    argv, _ = started(cluster, "head", tmp_path)
    assert "--head" in argv
    assert option(argv, "dashboard-host") in {"127.0.0.1", "::1", "localhost"}


@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_knows_every_option(cluster, role, tmp_path):
    from ray.scripts.scripts import start

    argv, _ = started(cluster, role, tmp_path)
    parsed = start.make_context("ray start", argv).params
    if role == "head":
        assert parsed["autoscaling_config"].endswith("/ray_bootstrap_config.yaml")


@pytest.mark.parametrize("role", ["head", "worker"])
def test_every_node_asks_for_the_token(cluster, role, tmp_path):
    _, env = started(cluster, role, tmp_path)
    assert env.get("RAY_AUTH_MODE") == "token"
    assert cluster["file_mounts"].get(TOKEN) == TOKEN
    assert "RAY_AUTH_TOKEN" not in env, "a secret does not belong into a file under version control"


@pytest.mark.parametrize("role", ["head", "worker"])
def test_every_node_knows_the_store(cluster, role, tmp_path):
    _, env = started(cluster, role, tmp_path)
    assert re.fullmatch(r"s3://[a-z0-9.-]+/\S+", env.get("FLOWKD_STORE", ""))


def test_the_queue_and_serve_start_with_the_head_alone(cluster, tmp_path):
    *before, dispatcher, serve = called(cluster, "head", tmp_path)
    assert [name for name, _, _ in before] == ["ray", "ray"]
    for name, _, env in (dispatcher, serve):
        assert (env["RAY_ADDRESS"], env["RAY_AUTH_MODE"]) == ("auto", "token"), name
        assert env["FLOWKD_STORE"].startswith("s3://")
    name, argv, env = dispatcher
    assert (name, argv[:3]) == ("python", ["-m", "jobs.dispatcher", "--config"])
    mounted = Path(argv[3]).relative_to(Path(env["HOME"], "flowkd"))  # by file_mounts
    config = load_config(QueueConfig, ROOT / mounted)
    assert [kind.model_dump() for kind in config.autoscaling_nodes] == [
        {"resources": node["resources"], "max_nodes": node["max_workers"]}
        for node in workers(cluster).values()
    ]
    assert "--http-host=127.0.0.1" in serve[1]
    assert ENVIRONMENT.items() <= environment(cluster).items()
    assert callable(dispatcher_of_jobs.main)
    cli.commands["start"].make_context("start", serve[1][1:])
    assert {name for name, _, _ in called(cluster, "worker", tmp_path)} == {"ray"}


def test_workers_join_the_head(cluster, tmp_path):
    argv, _ = started(cluster, "worker", tmp_path)
    assert "--head" not in argv
    head, _ = started(cluster, "head", tmp_path)
    assert option(argv, "address") == f"10.0.0.1:{option(head, 'port')}"


def test_images_carry_the_pinned_ray_and_one_python(cluster):
    images = [cluster["docker"]["image"]]
    images += [
        node["docker"]["worker_image"] for node in workers(cluster).values() if "docker" in node
    ]
    versions = [re.fullmatch(r"rayproject/ray:([0-9.]+)-py3(\d+)(-gpu)?", name) for name in images]
    assert all(versions), images
    assert {match[1] for match in versions} == {pinned("ray")}
    assert len({match[2] for match in versions}) == 1
    assert int(versions[0][2]) >= 11


def test_setup_installs_the_project_as_pinned(cluster):
    installs = [shlex.split(command) for command in cluster["setup_commands"]]
    folder = next(remote for remote, local in cluster["file_mounts"].items() if local == ".")
    assert any(
        words[:3] == ["cd", folder, "&&"]
        and words[-2:] == ["-c", "constraints.txt"]
        and words[3:6] == ["pip", "install", "-e"]
        for words in installs
    ), installs
    asked = re.search(r"\.\[([a-z,]+)\]", cluster["setup_commands"][-1])[1].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cluster", "aws"} <= set(asked) <= set(project["optional-dependencies"])


def test_what_is_built_or_secret_stays_at_home(cluster):
    excluded = {pattern.strip("/") for pattern in cluster["rsync_exclude"]}
    assert {".venv", ".git", "store", "results"} <= excluded
    assert not {"flowkd", "cluster", "tuning", "jobs", "constraints.txt"} & excluded
