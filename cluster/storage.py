"""Where a cluster keeps things: one URI, as flowkd's Store and as Ray's filesystem."""

from __future__ import annotations

import uuid
from typing import Any

from pyarrow import fs as pafs
from pydantic import Field, field_validator

from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.store import Store, default_uri

SECRETS = frozenset({"key", "secret", "token", "password", "account_key", "sas_token"})


class StorageConfig(Config):
    """One root URI for every process of a cluster.

    Credentials come from the environment of each process (`AWS_ACCESS_KEY_ID` and its kin),
    never from here: a configuration is published with its run.

    Args:
        uri: `s3://bucket/prefix`, any other fsspec URL, or a folder that all nodes share; it is
            made absolute, for Ray's workers run in a folder of their own.
        options: Storage options of the filesystem, such as `endpoint_url`.
    """

    uri: str
    options: dict[str, Any] = Field(default_factory=dict)

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
        return Store(self.uri, self.options)

    def ray_filesystem(self) -> tuple[pafs.FileSystem, str]:
        """Returns `storage_filesystem` and `storage_path` of Ray's `RunConfig`.

        Both pickle, and connect only where they are used.

        Raises:
            StoreError: The store is in memory, where Ray's processes cannot see it.
        """
        if self.uri.startswith("memory:"):
            raise StoreError(
                f"Ray's processes cannot share {self.uri}: each has a memory of its own; "
                "use a folder or s3://bucket/prefix"
            )
        store = self.store()
        if store.is_local:
            return pafs.LocalFileSystem(), store.path()
        return pafs.PyFileSystem(pafs.FSSpecHandler(store.fs)), store.path()


def check(store: Store) -> None:
    """Writes, reads and removes a small object.

    Call it before work is handed out: with a bucket that does not exist, s3fs would otherwise
    try to create one as soon as Ray makes its first folder.

    Raises:
        StoreError: An operation failed; the message names the place, the operation, the remedy.
    """
    probe, data = f".probe-{uuid.uuid4().hex}", uuid.uuid4().bytes
    operation = "open"
    try:
        path = store.path(probe)
        operation = "write to"
        store.write(data, probe)
        operation = "read from"
        found = store.read(probe)
        operation = "remove from"
        store.remove(probe)
    except StoreError:
        raise
    except Exception as error:  # botocore's errors share no base with OSError
        place = store.uri if store.is_local else f"bucket {path.split('/')[0]!r} of {store.uri}"
        raise StoreError(f"cannot {operation} {place}: {error}; {_remedy(store, error)}") from error
    if found != data:
        raise StoreError(
            f"{store.uri} returned other bytes than were written; is something else in between?"
        )


def _remedy(store: Store, error: Exception) -> str:
    if store.is_local:
        return "choose a folder in which this user may write"
    endpoint = getattr(store.fs, "endpoint_url", None) or "the endpoint (AWS_ENDPOINT_URL)"
    if isinstance(error, FileNotFoundError):
        return "create the bucket first, or correct --store or FLOWKD_STORE"
    if isinstance(error, PermissionError) or "credentials" in str(error).lower():
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may get, put, list and "
            "delete there"
        )
    return f"see whether {endpoint} is right and answers"
