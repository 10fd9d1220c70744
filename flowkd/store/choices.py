"""What was found by trying, kept for all whom the same facts concern."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowkd.config import Config, parse_config
from flowkd.store.store import Store


class Found(Config):
    """What was found.

    Attributes:
        shared: Whether another had found it before.
    """

    shared: bool = False


Choice = TypeVar("Choice", bound=Found)


@dataclass(frozen=True)
class Choices(Generic[Choice]):
    """Where one kind of choice is kept: `FOLDER/DIGEST.json`, by the digest of some facts.

    Attributes:
        store: None: nothing is kept.
        folder: Of this kind.
        facts: All that the choice depends on, as JSON has it.
        kind: What is read there.
    """

    store: Store | None
    folder: str
    facts: Mapping[str, Any]
    kind: type[Choice]

    @property
    def path(self) -> tuple[str, str]:
        """Where it is kept."""
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        return self.folder, f"{digest[:20]}.json"

    def known(self) -> Choice | None:
        """Returns what another has found; None if nobody has."""
        if self.store is None or not self.store.exists(*self.path):
            return None
        values = self.store.read_json(*self.path)
        found = parse_config(self.kind, values, source="/".join(self.path))
        return found.model_copy(update={"shared": True})

    def found(self, find: Callable[[], Choice]) -> Choice:
        """Returns what another has found, or else what a search finds, which is kept."""
        known = self.known()
        if known is not None:
            return known
        found = find()
        if self.store is not None:
            self.store.write(found.model_dump_json().encode(), *self.path)
        return found
