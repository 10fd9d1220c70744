"""The base of importers: the config of a data set, which can write that data set to a store."""

from __future__ import annotations

from abc import abstractmethod

from flowkd.config import Config
from flowkd.data.manifest import Manifest
from flowkd.names import DatasetName
from flowkd.store.store import Store


class ImporterConfig(Config):
    """Base of the data sets' configs. A new one is a file of its own and an entry in `prepare.py`.

    Attributes:
        kind: Tag by which a config names its importer; a subclass makes it a Literal of its own.
        name: The data set's name in the store.
        strict: Whether an import is refused that has anything to remark; default false.
    """

    kind: str
    name: DatasetName
    strict: bool = False

    @abstractmethod
    def write(self, store: Store) -> Manifest:
        """Writes the data set, replacing one of the same name, and returns its manifest.

        Raises:
            DataError: The source is missing or faulty.
        """
