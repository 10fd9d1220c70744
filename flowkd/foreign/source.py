"""A flow of another library from the code that builds it and a file of weights, without pickle."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from flowkd.errors import ConfigError, ConversionError
from flowkd.foreign.libraries import Library, library_of, part_for
from flowkd.foreign.units import Units

BUILDER = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
SHOWN = 3  # names of weights that a message shows
# What a file of weights may keep them under, beside an optimiser's state and the like.
INSIDE = ("state_dict", "model_state_dict", "model")


class ForeignFlow(Units):
    """A flow that was trained with another library: code that builds it, and its weights.

    Attributes:
        library: `nflows`, `normflows` or `zuko`.
        build: `package.module:function`, which is imported and called without arguments: it returns
            the flow with weights of any kind.
        weights: File of its state dict: safetensors, or what `torch.save` wrote; nothing in it is
            executed.
        mean: Subtracted from the data before it sees them; default 0.
        scale: What they are divided by then; default 1.
        context_mean: Subtracted from context vectors; default 0.
        context_scale: What they are divided by then; default 1.
    """

    library: Library
    build: str = Field(pattern=BUILDER)
    weights: str

    def __str__(self) -> str:
        return f"{self.library} {self.build}"


def load_module(source: ForeignFlow) -> nn.Module:
    """Returns a flow of another library with its weights, in eval mode.

    Raises:
        ConfigError: Its library is not installed; a builder that cannot be imported, raises, or
            returns another thing; weights that are missing, executable, or of another architecture.
    """
    part_for(source.library, "adapters")
    weights = read_weights(source.weights)
    module = build_module(source)
    known = module.state_dict()
    found = _without_prefix(weights, known)
    _check_names(source, found, known)
    module.load_state_dict(found)
    return module.eval()


def build_module(source: ForeignFlow) -> nn.Module:
    """Returns what a builder makes, with its first weights; raises ConfigError as `load_module`."""
    name, _, function = source.build.partition(":")
    with _importable(os.getcwd()):
        try:
            builder = getattr(importlib.import_module(name), function)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"build: expected package.module:function that can be imported, here or from an "
                f"installed package; got {source.build!r}: {_line(error)}"
            ) from error
        except Exception as error:
            raise ConfigError(f"build: importing {name} raised {_line(error)}") from error
        try:
            module = builder()
        except Exception as error:
            raise ConfigError(
                f"build: expected {source.build}() to return a flow; it raised {_line(error)}"
            ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"build: expected {source.build}() to return a flow of {source.library}; got a "
            f"{type(module).__name__}"
        )
    try:
        library = library_of(module)
    except ConversionError as error:
        raise ConfigError(f"build: {source.build}(): {error}") from error
    if library != source.library:
        raise ConfigError(
            f"library: expected {library}, of which {source.build}() is; got {source.library}"
        )
    return module


def read_weights(path: str) -> dict[str, Tensor]:
    """Reads a state dict, and executes nothing of the file.

    Raises:
        ConfigError: No such file, or one that holds other things than tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"weights: expected a file of weights; there is no {path!r}")
    if file.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(file)
        except SafetensorError as error:
            raise ConfigError(f"weights: {path} is not safetensors: {_line(error)}") from error
    try:
        read = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind, by what is in the file
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
            raise ConfigError(
                f"weights: expected a state dict of tensors alone; {path} also holds objects whose "
                f"loading could run code: save module.state_dict() by torch.save, or safetensors"
            ) from error
        raise ConfigError(
            f"weights: expected what torch.save wrote of a state dict, or safetensors; {path} is "
            f"neither, or cut off"
        ) from error
    for key in INSIDE:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    if not isinstance(read, Mapping) or not read or not all(map(torch.is_tensor, read.values())):
        raise ConfigError(
            f"weights: expected tensors by name, as module.state_dict() has them; {path} holds a "
            f"{type(read).__name__} of other things"
        )
    return dict(read)


def weights_hash(path: str) -> str:
    """Returns the SHA-256 of a file of weights, in hex; raises ConfigError for none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"weights: expected a file of weights; there is no {path!r}") from error


def _without_prefix(weights: dict[str, Tensor], known: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns weights without what DataParallel puts before their names."""
    bare = {name.removeprefix("module."): value for name, value in weights.items()}
    return bare if bare.keys() == known.keys() else weights


def _check_names(
    source: ForeignFlow, weights: Mapping[str, Tensor], known: Mapping[str, Tensor]
) -> None:
    """Raises ConfigError for weights of another architecture than the builder's."""
    missing = [name for name in known if name not in weights]
    more = [name for name in weights if name not in known]
    other = [
        f"{name} {tuple(weights[name].shape)} in place of {tuple(value.shape)}"
        for name, value in known.items()
        if name in weights and weights[name].shape != value.shape
    ]
    faults = [("it lacks", missing), ("it has besides", more), ("it has", other)]
    said = "; ".join(f"{what} {_some(names)}" for what, names in faults if names)
    if said:
        raise ConfigError(
            f"weights: expected those of what {source.build}() builds; {source.weights} is of "
            f"another architecture: {said}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _line(error: BaseException) -> str:
    """Returns an error's class and the first line of what it says."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Lets modules of a folder be imported, after all that are installed."""
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added:
            sys.path.remove(folder)
