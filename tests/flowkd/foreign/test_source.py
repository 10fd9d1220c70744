"""A flow from the code that builds it and a file of weights, of which nothing is executed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import zuko

from flowkd.errors import ConfigError
from flowkd.foreign import libraries
from flowkd.foreign.source import ForeignFlow, load_module

BUILDERS = """
import nflows.flows.autoregressive, torch, zuko

def flow():
    return zuko.flows.NSF(3, transforms=1, hidden_features=(4,))

def wider():
    return zuko.flows.NSF(3, transforms=1, hidden_features=(5,))

def fails():
    raise KeyError("no such setting")

def other():
    return nflows.flows.autoregressive.MaskedAutoregressiveFlow(3, 4, 1, 1)

def net():
    return torch.nn.Linear(2, 2)

def nothing():
    return None

NUMBER = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with builders and weights, in which a command is called."""
    (tmp_path / "my_builders.py").write_text(BUILDERS)
    (tmp_path / "broken.py").write_text("raise RuntimeError('a driver is missing')\n")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    flow = zuko.flows.NSF(3, transforms=1, hidden_features=(4,))
    torch.save(flow.state_dict(), "flow.pt")
    yield tmp_path
    for name in ("my_builders", "broken"):
        sys.modules.pop(name, None)


def source(**changes: Any) -> ForeignFlow:
    values = {"library": "zuko", "build": "my_builders:flow", "weights": "flow.pt"}
    return ForeignFlow.model_validate({**values, **changes})


def test_weights_come_from_either_kind_of_file_and_from_checkpoints(here: Path) -> None:
    known = torch.load("flow.pt", weights_only=True)
    safetensors.torch.save_file(known, "flow.safetensors")
    torch.save({"state_dict": known, "epoch": 3}, "checkpoint.pt")
    torch.save({f"module.{name}": value for name, value in known.items()}, "parallel.pt")
    for name in ("flow.pt", "flow.safetensors", "checkpoint.pt", "parallel.pt"):
        found = load_module(source(weights=name))
        assert not found.training
        for key, value in found.state_dict().items():
            assert torch.equal(value, known[key])


class Opens:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("ran", "w"))


def test_weights_that_hold_code_are_refused_and_never_run(here: Path) -> None:
    torch.save({"weight": torch.ones(2), "more": Opens()}, "evil.pt")
    with pytest.raises(ConfigError, match=r"tensors alone; evil.pt also holds objects whose"):
        load_module(source(weights="evil.pt"))
    torch.save(zuko.flows.NSF(3, transforms=1, hidden_features=(4,)), "whole.pt")
    with pytest.raises(ConfigError, match=r"save module.state_dict\(\) by torch.save"):
        load_module(source(weights="whole.pt"))
    assert not (here / "ran").exists()


FAULTS: dict[str, dict[str, Any]] = {
    r"build: expected package.module:function that can be imported, .*'no_such:flow': ModuleNot": {
        "build": "no_such:flow"
    },
    r"got 'my_builders:flows': AttributeError: .*no attribute 'flows'": {
        "build": "my_builders:flows"
    },
    r"build: importing broken raised RuntimeError: a driver is missing": {"build": "broken:flow"},
    r"build: expected my_builders:fails\(\) to return a flow; it raised KeyError": {
        "build": "my_builders:fails"
    },
    r"build: expected my_builders:NUMBER\(\) to return a flow; it raised TypeError": {
        "build": "my_builders:NUMBER"
    },
    r"build: expected my_builders:nothing\(\) to return a flow of zuko; got a NoneType": {
        "build": "my_builders:nothing"
    },
    r"build: my_builders:net\(\): expected a flow of nflows, normflows, zuko; got Linear": {
        "build": "my_builders:net"
    },
    r"library: expected nflows, of which my_builders:other\(\) is; got zuko": {
        "build": "my_builders:other"
    },
    r"flow.pt is of another architecture: it has .*hyper.0.weight \(4, 3\) in place of": {
        "build": "my_builders:wider"
    },
    r"there is no 'gone.pt'": {"weights": "gone.pt"},
    r"holds a Tensor of other things": {"weights": "tensor.pt"},
    r"safetensors; text.pt is neither, or cut off": {"weights": "text.pt"},
    r"text.safetensors is not safetensors": {"weights": "text.safetensors"},
    r"it lacks .*order, .* and \d more; it has besides a, b": {"weights": "others.pt"},
}


@pytest.mark.parametrize("words", FAULTS)
def test_each_fault_is_one_clear_line(here: Path, words: str) -> None:
    torch.save(torch.ones(2), "tensor.pt")
    torch.save({"a": torch.ones(2), "b": torch.ones(2)}, "others.pt")
    for name in ("text.pt", "text.safetensors"):
        Path(name).write_text("no weights at all")
    with pytest.raises(ConfigError, match=words) as error:
        load_module(source(**FAULTS[words]))
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)


def test_a_library_that_is_missing_is_named_with_its_extra(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "zuko"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "flowkd.foreign.adapters.zuko", raising=False)
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ConfigError, match=r"it is not: pip install 'flowkd\[zuko\]'"):
        libraries.part_for("zuko", "adapters")
