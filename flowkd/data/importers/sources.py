"""Sources of data: a file, a folder, a tar or a zip on any fsspec URL, read member by member.

Archives are somebody else's: nothing is ever unpacked to a path that they name, links and devices
are passed over, and a member that claims to be larger than allowed is refused before it is read.
"""

from __future__ import annotations

import hashlib
import itertools
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from flowkd.data.importers.damage import RANGES, DamageError, explain_damage
from flowkd.data.importers.local_folder import LINKS, walk_folder
from flowkd.data.notes import Notes
from flowkd.errors import DataError
from flowkd.text import shortened

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
GIB = 2**30
MAX_MEMBER_BYTES = 16 * GIB
MAX_MEMBERS = 10_000_000
MAX_NAME_BYTES = 2**20
NAMES = (b"L", b"K", b"x", b"g", b"X")  # tar's headers that are read whole to tell a name
RANDOM_BLOCK = 2**18

ENCRYPTED = 1  # bit of a zip member's flags
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@dataclass(frozen=True)
class Member:
    """A file within a source.

    Attributes:
        name: Its path there, with forward slashes.
        size: In bytes.
        where: What error messages call it.
        opened: Opens it; a tar's only until the next member is asked for.
    """

    name: str
    size: int
    where: str
    opened: Callable[[], IO[bytes]]

    def head(self, count: int) -> bytes:
        """Returns its first bytes; raises DataError as `read` does."""
        with explain_damage(self.where, self.size), self.opened() as file:
            return file.read(min(count, self.size))

    def read(self, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
        """Returns its bytes.

        Raises:
            DataError: It has more than `max_bytes`, or is cut off or damaged.
        """
        if self.size > max_bytes:
            raise DataError(
                f"{self.where} is refused: expected at most {max_bytes:,} bytes; it has "
                f"{self.size:,}"
            )
        with explain_damage(self.where, self.size), self.opened() as file:
            data = file.read(self.size + 1)
        if len(data) != self.size:
            raise DamageError(
                f"{self.where} is cut off: expected {self.size:,} bytes; got {len(data):,}; "
                f"fetch {self.where.split(' in ')[-1]} again"
            )
        return data


class Source:
    """A file, a folder, a tar or a zip on any fsspec URL.

    Links of a local folder are followed; `notes` has those that were passed over by the latest
    walk through the source.

    Args:
        uri: A path, or any fsspec URL.

    Raises:
        DataError: There is nothing at the URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.notes = Notes()
        try:
            self.fs, self.path = fsspec.core.url_to_fs(uri)
            there = self.fs.exists(self.path)
        except (ImportError, ValueError) as error:
            raise DataError(f"cannot open {uri}: {error}") from error
        if not there:
            raise DataError(f"there is no {uri!r}; expected a file, a folder, or an fsspec URL")
        self.kind = self._kind()

    def _kind(self) -> Literal["folder", "tar", "zip", "file"]:
        if self.fs.isdir(self.path):
            return "folder"
        if self.path.lower().endswith(TARS):
            return "tar"
        return "zip" if self.path.lower().endswith(".zip") else "file"

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path.rstrip("/")).name

    def fingerprint(self) -> str:
        """Returns a hash of the names and sizes of its files."""
        found = sorted((name, size) for name, size, _ in self._files())
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def members(
        self, wanted: Callable[[str], bool] = lambda name: True
    ) -> Generator[Member, None, None]:
        """Yields the regular files whose names are wanted: in an archive's order, else by name.

        Raises:
            DataError: The archive is cut off or damaged, or claims too much; or it is a zip that
                is encrypted, or on a server that does not answer requests for ranges.
        """
        if self.kind == "tar":
            yield from self._tar_members(wanted)
        elif self.kind == "zip":
            yield from self._zip_members(wanted)
        else:
            for name, size, path in sorted(self._files()):
                if size is None:
                    raise DataError(
                        f"{self.uri} cannot be read: its server does not tell how many bytes it "
                        f"has; fetch it and name it on disk"
                    )
                if wanted(name):
                    yield Member(name, size, self._where(name), self._opener(path))

    @contextmanager
    def all_members(
        self, wanted: Callable[[str], bool] = lambda name: True
    ) -> Iterator[list[Member]]:
        """Yields a list of all members, which can be opened in any order within the `with` block.

        Raises:
            DataError: As `members` does.
            ValueError: The source is a tar, which can only be read from beginning to end.
        """
        if self.kind == "tar":
            raise ValueError(f"the members of a tar come one by one; got {self.uri}")
        with ExitStack() as stack:
            if self.kind == "zip":
                with explain_damage(self.uri):
                    archive = stack.enter_context(zipfile.ZipFile(self._seekable(stack)))
                    found = list(self._in_zip(archive, wanted))
            else:
                found = list(self.members(wanted))
            yield found

    def _files(self) -> Iterator[tuple[str, int | None, str]]:
        """Yields relative name, size and path of the files themselves, archives unopened."""
        if self.kind != "folder":
            yield self.name, self.fs.size(self.path), self.path
            return
        self.notes = Notes()
        if self.is_local:
            yield from walk_folder(self.path, self.notes)
            return
        prefix = self.path.rstrip("/") + "/"
        for path, info in self.fs.find(self.path, detail=True).items():
            yield path.removeprefix(prefix), info["size"], path

    def _seekable(self, stack: ExitStack) -> IO[bytes]:
        file: IO[bytes] = self.fs.open(self.path, "rb", block_size=RANDOM_BLOCK)
        if not stack.enter_context(file).seekable():
            raise ValueError(f"{self.uri} has no {RANGES}")
        return file

    def _opener(self, path: str) -> Callable[[], IO[bytes]]:
        return lambda: self.fs.open(path, "rb")

    def _where(self, name: str) -> str:
        return self.uri if self.kind == "file" else f"{shortened(name)} in {self.uri}"

    def _tar_members(self, wanted: Callable[[str], bool]) -> Iterator[Member]:
        last = "its beginning"
        self.notes = Notes()
        with (
            explain_damage(self.uri, after=lambda: last),
            self.fs.open(self.path, "rb") as file,
            tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as tar,
        ):
            for number in itertools.count():
                info = tar.next()
                if info is None:
                    break
                vars(tar)["members"].clear()  # else the headers of all members stay in memory
                self._check(info.name, info.size, number)
                name = info.name.removeprefix("./")
                if info.isfile() and wanted(name):
                    yield Member(name, info.size, self._where(name), self._in_tar(tar, info))
                elif (info.issym() or info.islnk()) and wanted(name):
                    self.notes.add(LINKS, "in archives", name)
                last = name

    @staticmethod
    def _in_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            file = tar.extractfile(info)
            assert file is not None
            return file

        return opened

    def _zip_members(self, wanted: Callable[[str], bool]) -> Iterator[Member]:
        with self.all_members(wanted) as members:
            yield from members

    def _in_zip(self, archive: zipfile.ZipFile, wanted: Callable[[str], bool]) -> Iterator[Member]:
        self.notes = Notes()
        for number, info in enumerate(archive.infolist()):
            name = info.filename
            self._check(name, info.file_size, number)
            if info.is_dir() or not wanted(name):
                continue
            self._check_packing(info)
            if stat.S_ISLNK(info.external_attr >> 16):
                self.notes.add(LINKS, "in archives", name)
            else:
                opened = partial(archive.open, info)
                yield Member(name, info.file_size, self._where(name), opened)

    def _check_packing(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & ENCRYPTED:
            raise DataError(
                f"{self._where(info.filename)} is encrypted with a password; unpack the zip and "
                f"name the folder"
            )
        if info.compress_type not in ZIP_METHODS:
            raise DataError(
                f"{self._where(info.filename)} is compressed by method {info.compress_type}; "
                f"expected one of {', '.join(map(str, ZIP_METHODS))}: stored, deflated, bzip2 or "
                f"LZMA; unpack the zip and name the folder"
            )

    def _check(self, name: str, size: int, number: int) -> None:
        if size > MAX_MEMBER_BYTES:
            raise DataError(
                f"{self._where(name)} is refused: it claims {size:,} bytes; expected at most "
                f"{MAX_MEMBER_BYTES:,}"
            )
        if number >= MAX_MEMBERS:
            raise DataError(f"{self.uri} is refused: it has more than {MAX_MEMBERS:,} members")


class _Header(tarfile.TarInfo):
    """A tar's header; a missing end mark, which tarfile takes for the end, is an error here."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # zeros: the mark that closes a tar
                raise
            raise tarfile.ReadError(
                f"the archive ends without its closing mark: {error}"
            ) from error
        if info.type in NAMES and info.size > MAX_NAME_BYTES:
            raise tarfile.ReadError(f"a member's name claims {info.size:,} bytes")
        return info


def fingerprint_of(sources: Sequence[Source]) -> str:
    """Returns a hash of the names and sizes of all files of several sources."""
    prints = [source.fingerprint() for source in sources]
    return hashlib.sha256(" ".join(prints).encode()).hexdigest()
