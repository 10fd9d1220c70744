"""One root URI on any fsspec filesystem: the only door to what flowkd keeps."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from flowkd.errors import StoreError

DEFAULT_URI = "store"


def default_uri() -> str:
    """Returns FLOWKD_STORE, or the folder `store` of the working directory."""
    return os.environ.get("FLOWKD_STORE") or DEFAULT_URI


class Store:
    """Reads and writes objects below a root URI, by relative path.

    Instances pickle, and open their filesystem lazily in each process.

    Args:
        uri: A local folder or any fsspec URL: `file://`, `s3://bucket/prefix`, `memory://`.
        options: Storage options of the filesystem, as fsspec takes them.
    """

    def __init__(self, uri: str, options: Mapping[str, Any] | None = None) -> None:
        if not uri:
            raise StoreError("expected a store URI such as ./store or s3://bucket/prefix; got ''")
        # Not Path.as_uri(): fsspec takes file:// paths literally, "%20" and all.
        self.uri = uri if "://" in uri else f"file://{Path(uri).expanduser().resolve()}"
        self.options = dict(options or {})

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "options": self.options}

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        options = {"use_listings_cache": False, **self.options}
        try:
            return fsspec.core.url_to_fs(self.uri, **options)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"cannot open store {self.uri}: {error}; for s3:// `pip install 'flowkd[cluster]'`"
            ) from error

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem of this process."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

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

    def read(self, *parts: str) -> bytes:
        """Returns an object's bytes; raises StoreError where there is none."""
        try:
            return self.fs.cat_file(self.path(*parts))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise StoreError(f"no object {'/'.join(parts)!r} in store {self.uri}") from error

    def write(self, data: bytes, *parts: str) -> None:
        """Writes an object whole, replacing what was there; readers see the old or the new."""
        path = self.path(*parts)
        if not self.is_local:
            self.fs.pipe_file(path, data)
            return
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

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
        return self.fs.exists(self.path(*parts))

    def list(self, *parts: str) -> list[str]:
        """Returns the sorted names directly below a folder; none where it does not exist."""
        folder = self.path(*parts)
        try:
            found = self.fs.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {PurePosixPath(path).name for path in found if path.rstrip("/") != folder}
        return sorted(name for name in names if not name.endswith(".tmp"))

    def remove(self, *parts: str) -> None:
        """Removes an object, or a folder with all that is below it; silent where there is none."""
        path = self.path(*parts)
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)
