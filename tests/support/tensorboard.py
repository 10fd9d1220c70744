"""TensorBoard's own reader, as its server uses it, on a folder of a store."""

from __future__ import annotations

from tensorboard.backend.event_processing.plugin_event_accumulator import TENSORS
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.util.tensor_util import make_ndarray

from flowkd.store.store import Store

Curves = dict[str, list[tuple[int, float]]]


class Board:
    """What `tensorboard --logdir FOLDER` shows; it goes on reading where it has stopped.

    Args:
        store: Holds the folder.
        folder: Its path there.
    """

    def __init__(self, store: Store, *folder: str) -> None:
        path = store.path(*folder)
        self._folder = path if store.is_local else f"s3://{path}"
        self._found = EventMultiplexer(size_guidance={TENSORS: 0})  # each point, not a sample

    def curves(self) -> dict[str, Curves]:
        """Returns step and value of each figure by its name, of each run by TensorBoard's name."""
        self._found.AddRunsFromDirectory(self._folder)
        self._found.Reload()
        tags = {run: found[TENSORS] for run, found in self._found.Runs().items()}
        return {run: {tag: self._curve(run, tag) for tag in tags[run]} for run in tags}

    def steps(self, run: str, tag: str) -> list[int]:
        """Returns the steps of a figure."""
        return [step for step, _ in self.curves()[run][tag]]

    def _curve(self, run: str, tag: str) -> list[tuple[int, float]]:
        return [
            (event.step, make_ndarray(event.tensor_proto).item())
            for event in self._found.Tensors(run, tag)
        ]
