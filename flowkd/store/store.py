"""The store: objects below one root URI, on any fsspec filesystem, with retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from flowkd.credentials import without_credentials
from flowkd.errors import StoreError
from flowkd.store.failures import AWS_KEYS, explain_failure
from flowkd.store.local_files import create_file, replace_file
from flowkd.store.objects import copy_all, create_object, remove_exactly
from flowkd.store.retry import with_retries
from flowkd.store.uri import absolute_uri

RETRY_SECONDS = 90.0

T = TypeVar("T")


class Store:
    """Reads and writes objects below a root URI, by relative path.

    Instances pickle, and open their filesystem lazily in each process. Transient errors of an
    object store (overload, lost connections, expired credentials) are retried with exponential
    backoff; other errors are raised at once, with what to do.

    Args:
        uri: A local folder or any fsspec URL: `file://`, `s3://bucket/prefix`, `memory://`.
        options: Storage options of the filesystem, as fsspec takes them.
        retry_seconds: How long an operation on an object store is retried; default 90 s.

    Examples:
        >>> store = Store("memory://example")
        >>> store.write(b"data", "folder", "object")
        >>> store.read("folder", "object")
        b'data'
        >>> store.list("folder"), store.exists("folder", "other")
        (['object'], False)
        >>> store.create(b"others' data", "folder", "object")  # only where there is none
        False
        >>> store.remove()
    """

    def __init__(
        self,
        uri: str,
        options: Mapping[str, Any] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        if not uri:
            raise StoreError("expected a store URI such as ./store or s3://bucket/prefix; got ''")
        self.uri = absolute_uri(uri)
        self.options = dict(options or {})
        self.retry_seconds = retry_seconds

    def __str__(self) -> str:
        return without_credentials(self.uri)

    def __repr__(self) -> str:
        return f"Store({str(self)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "options": self.options, "retry_seconds": self.retry_seconds}

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        # A copy: s3fs adds to the dictionaries that it is given.
        options = {"use_listings_cache": False, **deepcopy(self.options)}
        try:
            return fsspec.core.url_to_fs(self.uri, **options)
        except (ImportError, ValueError) as error:
            reason = explain_failure(error) or str(error)
            raise StoreError(f"cannot open store {self.uri}: {reason}") from error

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem of this process."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def in_memory(self) -> bool:
        """Whether the store is in the memory of this process."""
        return isinstance(self.fs, MemoryFileSystem)

    def path(self, *parts: str) -> str:
        """Returns the filesystem's own path of an object, or of the root if no part is given.

        Refused are empty and absolute parts, `..`, and `*?[`, which fsspec's `rm` would expand.
        """
        relative = PurePosixPath(*parts)
        if "" in parts or relative.is_absolute() or ".." in relative.parts:
            raise StoreError(f"expected a path inside {self.uri}; got {'/'.join(parts)!r}")
        if not set("*?[").isdisjoint(str(relative)):
            raise StoreError(f"expected a name without '*', '?' and '['; got {str(relative)!r}")
        root = self._opened[1]
        return f"{root.rstrip('/')}/{relative}" if relative.parts else root

    def read(self, *parts: str, start: int | None = None) -> bytes:
        """Returns an object's bytes, from `start` on; raises StoreError where there is none."""
        try:
            return self.retry("read", lambda path: self.fs.cat_file(path, start=start), *parts)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise StoreError(f"no object {'/'.join(parts)!r} in store {self.uri}") from error

    def write(self, data: bytes, *parts: str) -> None:
        """Writes an object whole, replacing what was there; readers see the old or the new."""
        if self.is_local:
            self.retry("write", lambda path: replace_file(path, data), *parts)
        else:
            self.retry("write", lambda path: self.fs.pipe_file(path, data), *parts)

    def create(self, data: bytes, *parts: str) -> bool:
        """Writes an object whole where there is none, and tells whether it is this call's.

        Of several calls at once, one wins, where the store is atomic: ask
        `flowkd.store.locks.creates_are_atomic`. A retry can meet the success of an attempt whose
        answer was lost, so an object with the same data counts as this call's: put something
        unique into the data.

        Args:
            data: Unlike that of any other call.
            parts: Path of the object.

        Raises:
            StoreError: It failed for another reason than an object that is there.
        """
        if self.is_local:
            created = self.retry("create", lambda path: create_file(path, data), *parts)
        else:
            created = self.retry("create", lambda path: create_object(self.fs, path, data), *parts)
        return created or self.read(*parts) == data

    def read_json(self, *parts: str) -> Any:
        """Returns an object parsed as JSON; raises StoreError where it is missing or not JSON."""
        data = self.read(*parts)
        try:
            return json.loads(data)
        except ValueError as error:
            raise StoreError(
                f"expected JSON in {'/'.join(parts)!r} of store {self.uri}; got {data[:40]!r}"
            ) from error

    def write_json(self, value: Any, *parts: str) -> None:
        """Writes a value as indented JSON."""
        self.write(json.dumps(value, indent=2).encode() + b"\n", *parts)

    def exists(self, *parts: str) -> bool:
        """Tells whether an object or a folder is there."""
        return self.retry("look for", lambda path: self.fs.exists(path), *parts)

    def find(self, *parts: str) -> list[str]:
        """Returns the sorted paths of all objects below a folder, within it, by one listing."""
        folder = self.path(*parts)
        try:
            found = self.retry("list", lambda path: self.fs.find(path), *parts)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (path[len(folder) :].lstrip("/") for path in found)
        return sorted(name for name in names if name and not name.endswith(".tmp"))

    def list(self, *parts: str) -> list[str]:
        """Returns the sorted names directly below a folder; none where it does not exist."""
        folder = self.path(*parts)
        try:
            found = self.retry("list", lambda path: self.fs.ls(path, detail=False), *parts)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {PurePosixPath(path).name for path in found if path.rstrip("/") != folder}
        return sorted(name for name in names if not name.endswith(".tmp"))

    def sizes(self, *parts: str) -> dict[str, int]:
        """Returns the bytes of each object directly below a folder, by name."""
        try:
            found = self.retry("list", lambda path: self.fs.ls(path, detail=True), *parts)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        files = (each for each in found if each["type"] == "file")
        return {PurePosixPath(each["name"]).name: each["size"] for each in files}

    def remove(self, *parts: str) -> None:
        """Removes an object, or a folder with all that is below it; silent where there is none."""
        self.retry("remove", self._remove, *parts)

    def _remove(self, path: str) -> None:
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def copy(self, source: str, target: str) -> None:
        """Copies all that is below a folder into another, object by object, within the store.

        Objects are copied in the order of their paths: the last may tell that all are there.

        Raises:
            StoreError: There is nothing, or something was removed meanwhile.
        """
        try:
            self.retry("copy", lambda path: copy_all(self.fs, path, self.path(target)), source)
        except FileNotFoundError as error:
            raise StoreError(f"no folder {source!r} in store {self.uri}") from error

    def remove_child(self, name: str, *folder: str) -> None:
        """Removes what lies in a folder under exactly this name, which may hold `*`, `?` or `[`.

        Such a name has no path of its own here: fsspec would take it for a pattern.
        """
        if name in ("", ".", "..") or "/" in name:
            raise StoreError(f"expected a name in {'/'.join(folder)!r} of {self.uri}; got {name!r}")
        self.retry("remove from", lambda path: remove_exactly(self.fs, f"{path}/{name}"), *folder)

    def retry(self, what: str, operation: Callable[[str], T], *parts: str) -> T:
        """Returns what an operation on a path returns, retried while its errors are transient.

        Args:
            what: The operation in a word, for the error message.
            operation: Takes the filesystem's own path. It may be called several times, and must
                ask for `fs` each time: a new one reads the credentials again after they expired.
            *parts: The path.

        Raises:
            StoreError: It failed for good; the message names the place and what to do.
            FileNotFoundError: There is no such object; where to write, that is a StoreError.
            IsADirectoryError: The path is a folder.
            NotADirectoryError: The path leads through an object.
        """
        path = self.path(*parts)
        try:
            if self.is_local:
                return operation(path)
            return with_retries(lambda: operation(path), self.retry_seconds, self._reopen)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if what not in ("write", "create"):
                raise
            raise self.refused(what, error, *parts) from error
        except StoreError:
            raise
        except Exception as error:  # botocore's errors share no base with OSError
            if self.is_local and not isinstance(error, OSError):
                raise
            raise self.refused(what, error, *parts) from error

    def _reopen(self) -> None:
        """Drops the filesystem, so that the next operation reads the credentials again."""
        type(self.fs).clear_instance_cache()
        self.__dict__.pop("_opened", None)

    def refused(self, what: str, error: Exception, *parts: str) -> StoreError:
        """Returns the error of an operation that failed for good, with what to do about it."""
        place = repr("/".join(parts))
        if self.is_local:
            reason = explain_failure(error) or str(error)
            return StoreError(f"cannot {what} {place} of {self.uri}: {reason}")
        place = f"{place} in bucket {self.path().split('/')[0]!r}"
        return StoreError(f"cannot {what} {place} of {self.uri}: {error}; {_remedy(self, error)}")


def _remedy(store: Store, error: Exception) -> str:
    """Returns what to do about an operation that a store refused."""
    endpoint = getattr(store.fs, "endpoint_url", None) or "the endpoint (AWS_ENDPOINT_URL)"
    if isinstance(error, FileNotFoundError):
        return "create the bucket first, or correct --store or FLOWKD_STORE"
    if isinstance(error, PermissionError) or "credentials" in str(error).lower():
        return f"{AWS_KEYS} to keys that may get, put, list and delete there"
    return f"see whether {endpoint} is right and answers"
