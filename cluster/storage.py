"""The storage of a cluster: one URI as flowkd's Store, as pyarrow's filesystem and as Ray's."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.store.store import RETRY_SECONDS, Store
from flowkd.store.uri import default_uri

if TYPE_CHECKING:
    from pyarrow import fs as pafs

CHECK_RETRY_SECONDS = 5.0  # seconds
SECRETS = frozenset({"key", "secret", "token", "password", "account_key", "sas_token"})


class StorageConfig(Config):
    """One root URI for every process of a cluster.

    Credentials come from the environment of each process (`AWS_ACCESS_KEY_ID` and its kin),
    never from here: a configuration is published with its run.

    Attributes:
        uri: `s3://bucket/prefix`, any other fsspec URL, or a folder that all nodes share; it is
            made absolute, for Ray's workers run in a folder of their own.
        options: Storage options of the fsspec filesystem, such as `endpoint_url`; default none.
        retry_seconds: Seconds for which an operation that the store refuses for the moment is
            tried again; default 90.
    """

    uri: str
    options: dict[str, Any] = Field(default_factory=dict)
    retry_seconds: float = Field(RETRY_SECONDS, ge=0)

    @field_validator("uri")
    @classmethod
    def _absolute(cls, uri: str) -> str:
        try:
            return Store(uri).uri
        except StoreError as error:
            raise ValueError(str(error)) from error

    @field_validator("options")
    @classmethod
    def _without_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        found = sorted(SECRETS & options.keys())
        if found:
            raise ValueError(f"credentials belong in the environment, not in options: {found}")
        return options

    @classmethod
    def from_uri(cls, uri: str | None = None, **options: Any) -> StorageConfig:
        """Returns the configuration of a URI; None stands for FLOWKD_STORE or its default."""
        return cls(uri=uri or default_uri(), options=options)

    def store(self) -> Store:
        """Returns the store; nothing is opened yet."""
        return Store(self.uri, self.options, self.retry_seconds)

    def arrow_filesystem(self) -> tuple[pafs.FileSystem, str]:
        """Returns pyarrow's view of the store, and the path of the root in it."""
        from flowkd.store.arrow import arrow_filesystem  # commands that read no table need none

        return arrow_filesystem(self.store())

    def ray_filesystem(self) -> tuple[pafs.FileSystem, str]:
        """Returns `storage_filesystem` and `storage_path` of Ray's `RunConfig`: pyarrow's view.

        Ray tries nothing again that a filesystem of Python's refused; this one does so itself.

        Raises:
            StoreError: The store is in memory, where Ray's processes cannot see it.
        """
        if self.uri.startswith("memory:"):
            raise StoreError(
                f"Ray's processes cannot share {self.uri}: each has a memory of its own; "
                "use a folder or s3://bucket/prefix"
            )
        return self.arrow_filesystem()


def check(store: Store) -> None:
    """Writes, reads and removes a small object.

    Call it before work is handed out, so that what is wrong is said at once and in one place.

    Raises:
        StoreError: An operation failed; the message names the place, the operation, the remedy.
    """
    store = Store(store.uri, store.options, CHECK_RETRY_SECONDS)
    probe, data = f".probe-{uuid.uuid4().hex}", uuid.uuid4().bytes
    try:
        store.write(data, probe)
        found = store.read(probe)
        store.remove(probe)
    except OSError as error:
        raise store.refused("write, read and remove", error, probe) from error
    if found != data:
        raise StoreError(
            f"{store.uri} returned other bytes than were written; is something else in between?"
        )


def check_place(store: Store) -> None:
    """Raises StoreError where a store of a folder is, or lies below, a file."""
    if not store.is_local:
        return
    path = Path(store.path())
    for each in (path, *path.parents):
        if each.is_dir():
            return
        if each.exists():
            raise StoreError(
                f"expected a folder as the store, {store}; {each} is a file: correct --store or "
                f"FLOWKD_STORE"
            )
