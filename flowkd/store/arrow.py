"""A store as a pyarrow filesystem, with the store's retries and error messages.

pyarrow's own S3FileSystem with AwsStandardS3RetryStrategy outlasts overload and lost connections;
by the tests of this module it does not outlast expired credentials, cannot move or empty a folder
of an S3 server, and tells a missing object from no other error when it copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pyarrow import PythonFile
from pyarrow import fs as pafs

from flowkd.errors import StoreError
from flowkd.store.arrow_files import StoreReader, StoreWriter
from flowkd.store.store import Store

# Object stores, which know no folders: their filesystems would make a bucket instead.
WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})

T = TypeVar("T")


def arrow_filesystem(store: Store) -> tuple[pafs.FileSystem, str]:
    """Returns pyarrow's view of a store, and the path of the store's root in it.

    Both pickle. Nothing is connected before it is used, in the process that uses it.

    Args:
        store: Operations are retried and explained as the store's own are; a missing object
            stays a FileNotFoundError.

    Examples:
        >>> from flowkd.store.store import Store
        >>> store = Store("memory://arrow")
        >>> fs, root = arrow_filesystem(store)
        >>> with fs.open_output_stream(f"{root}/a.txt") as file:
        ...     _ = file.write(b"text")
        >>> store.read("a.txt")
        b'text'
        >>> store.remove()
    """
    if store.is_local:
        return pafs.LocalFileSystem(), store.path()
    return pafs.PyFileSystem(StoreHandler(store)), store.path()


class StoreHandler(pafs.FileSystemHandler):
    """Implements pyarrow's filesystem interface by a store; paths are the filesystem's own.

    pyarrow's FSSpecHandler asks `isdir` and `find`, which take an error for "no".

    Args:
        store: Paths outside its root are refused.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoreHandler):
            return NotImplemented
        return self.store.__getstate__() == other.store.__getstate__()

    def __hash__(self) -> int:
        return hash(self.store.uri)

    def get_type_name(self) -> str:
        """Returns `flowkd+s3` and the like."""
        return f"flowkd+{self._scheme}"

    def normalize_path(self, path: str) -> str:
        """Returns the path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """Returns what each path is: a file, a folder, or nothing."""
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """Returns what is below a folder."""
        folder = selector.base_dir
        if selector.allow_not_found and self._info(folder).type == pafs.FileType.NotFound:
            return []
        self._expect(folder, pafs.FileType.Directory)
        return list(self._below(folder, selector.recursive))

    def create_dir(self, path: str, recursive: bool) -> None:
        """Makes a folder, where the filesystem knows of folders."""
        if self._scheme in WITHOUT_FOLDERS:
            return

        def create(path: str) -> None:
            if not self.store.fs.exists(path):
                self.store.fs.mkdir(path, create_parents=recursive)

        self._retry("create", create, path)

    def delete_dir(self, path: str) -> None:
        """Removes a folder with all that is in it."""
        self._expect(path, pafs.FileType.Directory)
        self._remove(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Removes all that is in a folder."""
        if missing_dir_ok and self._info(path).type == pafs.FileType.NotFound:
            return
        self._expect(path, pafs.FileType.Directory)
        for found in self._listed(path):
            self._remove(found.path)

    def delete_root_dir_contents(self) -> None:
        """Raises StoreError: a store may share its bucket."""
        raise StoreError(f"expected a folder to empty; name one inside {self.store.uri}")

    def delete_file(self, path: str) -> None:
        """Removes an object."""
        self._expect(path, pafs.FileType.File)
        self._remove(path)

    def move(self, src: str, dest: str) -> None:
        """Copies an object or a folder, then removes the first."""
        info = self._info(src)
        if info.type == pafs.FileType.Directory:
            for found in self._below(src, recursive=True):
                if found.is_file:
                    inner = PurePosixPath(found.path).relative_to(src)
                    self.copy_file(found.path, str(PurePosixPath(dest, inner)))
        else:
            self.copy_file(src, dest)
        self._remove(src)

    def copy_file(self, src: str, dest: str) -> None:
        """Copies an object within the store."""
        self._expect(src, pafs.FileType.File)
        self._retry(
            "copy",
            lambda path: self.store.fs.cp_file(path, self.store.path(*self._parts(dest))),
            src,
        )

    def open_input_stream(self, path: str) -> PythonFile:
        """Returns an object, open for reading."""
        return PythonFile(StoreReader(self.store, self._parts(path)), mode="r")

    def open_input_file(self, path: str) -> PythonFile:
        """Returns an object, open for reading at any position."""
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any = None) -> PythonFile:
        """Returns a file that becomes an object when it is closed."""
        return PythonFile(StoreWriter(self.store, self._parts(path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any = None) -> PythonFile:
        """Raises StoreError: objects are written whole."""
        raise StoreError(
            f"cannot append to {path!r}: objects of {self.store.uri} are written whole"
        )

    @property
    def _scheme(self) -> str:
        return self.store.uri.split("://")[0]

    def _parts(self, path: str) -> tuple[str, ...]:
        """Returns a path of the filesystem as the store takes it."""
        root = self.store.path()
        try:
            return PurePosixPath(path).relative_to(root).parts
        except ValueError as error:
            raise StoreError(f"expected a path below {root!r}; got {path!r}") from error

    def _retry(self, what: str, operation: Callable[[str], T], path: str) -> T:
        return self.store.retry(what, operation, *self._parts(path))

    def _remove(self, path: str) -> None:
        self.store.remove(*self._parts(path))

    def _info(self, path: str) -> pafs.FileInfo:
        try:
            return _described(
                path, self._retry("look for", lambda path: self.store.fs.info(path), path)
            )
        except FileNotFoundError:
            return pafs.FileInfo(path, pafs.FileType.NotFound)

    def _expect(self, path: str, kind: pafs.FileType) -> None:
        found = self._info(path).type
        if found == pafs.FileType.NotFound:
            raise FileNotFoundError(path)
        if found != kind:
            raise (
                IsADirectoryError(path) if kind == pafs.FileType.File else NotADirectoryError(path)
            )

    def _listed(self, folder: str) -> list[pafs.FileInfo]:
        try:
            found = self._retry("list", lambda path: self.store.fs.ls(path, detail=True), folder)
        except FileNotFoundError:  # an object store's folder goes with what was in it
            return []
        named = [(each["name"].rstrip("/"), each) for each in found]
        return [_described(name, each) for name, each in named if name != folder.rstrip("/")]

    def _below(self, folder: str, recursive: bool) -> Iterator[pafs.FileInfo]:
        for found in self._listed(folder):
            yield found
            if recursive and not found.is_file:
                yield from self._below(found.path, recursive)


def _described(path: str, info: dict[str, Any]) -> pafs.FileInfo:
    if info["type"] == "directory":
        return pafs.FileInfo(path, pafs.FileType.Directory)
    changed = info.get("mtime") or info.get("LastModified") or None
    return pafs.FileInfo(path, pafs.FileType.File, size=info["size"], mtime=changed)
