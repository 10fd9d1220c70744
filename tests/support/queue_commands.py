"""The queue's commands called in this process, and the files that they are called with."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer.testing import CliRunner

from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.prepare import prepare
from flowkd.store.store import Store
from jobs.cli.main import app

TRAINING = {
    "name": "teacher",
    "dataset": "digits",
    "flow": {"kind": "glow", "levels": 1, "depth": 1, "width": 4},
    "train": {"steps": 5, "learning_rate": 1e-3, "warmup_steps": 1},
    "batch_size": 32,
    "scaling": {"workers": 2, "cpus": 1},
}


def write_configs(folder: Path) -> Path:
    """Writes a training, a publication and a pipeline of both into a folder, and returns it."""
    files = {
        "teacher": TRAINING,
        "publish": {"model": "digits", "source": "runs/teacher"},
        "data": {"kind": "digits"},
        "pipeline": {
            "name": "line",
            "stages": {
                "data": {"kind": "prepare", "config": "data.yaml"},
                "teacher": {"kind": "train_teacher", "config": "teacher.yaml"},
                "publish": {"kind": "publish", "config": "publish.yaml", "set": ["alias=new"]},
                "other": {"kind": "publish", "config": "publish.yaml", "after": ["teacher"]},
            },
        },
    }
    for name, values in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


def call(store: Store, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--store", store.uri])
    return result.exit_code, result.output


def submit(store: Store, configs: Path, *more: str, kind: str = "train_teacher") -> tuple[int, str]:
    if kind != "pipeline":  # which makes the data set
        prepare(DigitsConfig(), store)
    name = {"train_teacher": "teacher", "distill": "teacher"}.get(kind, kind)
    return call(store, "submit", kind, "--config", str(configs / f"{name}.yaml"), *more)
