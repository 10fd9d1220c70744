"""Which library a flow is of, and what of it is imported only when it is used."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, Literal, get_args

from torch import nn

from flowkd.errors import ConfigError, ConversionError

Library = Literal["nflows", "normflows", "zuko"]
LIBRARIES: tuple[Library, ...] = get_args(Library)


def library_of(module: object) -> Library:
    """Returns the library that a flow's class is of, or derives from.

    Raises:
        ConversionError: It is of none of them.
    """
    for kind in type(module).__mro__:
        root = kind.__module__.partition(".")[0]
        for library in LIBRARIES:
            if root == library:
                return library
    inside = [name for name, each in _children(module) if _is_flow(each)]
    hint = f"; its part {inside[0]!r} is one: give that" if inside else ""
    raise ConversionError(
        f"expected a flow of {', '.join(LIBRARIES)}; got {type(module).__name__}{hint}"
    )


def origin_of(module: object) -> str:
    """Returns library, version and class of a flow."""
    library = library_of(module)
    return f"{library} {importlib.metadata.version(library)} {type(module).__name__}"


def part_for(library: Library, what: Literal["convert", "adapters"]) -> Any:
    """Returns flowkd's module for a library, which imports it.

    Raises:
        ConfigError: The library is not installed.
    """
    try:
        return importlib.import_module(f"flowkd.foreign.{what}.{library}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise ConfigError(
            f"expected {library} to be installed, of which a flow is to be read; it is not: "
            f"pip install 'flowkd[{library}]'"
        ) from error


def _children(module: object) -> list[tuple[str, nn.Module]]:
    return list(module.named_children()) if isinstance(module, nn.Module) else []


def _is_flow(module: nn.Module) -> bool:
    roots = {kind.__module__.partition(".")[0] for kind in type(module).__mro__}
    return not roots.isdisjoint(LIBRARIES)
