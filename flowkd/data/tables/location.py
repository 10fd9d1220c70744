"""Where a table lies: a file on any fsspec URL, compressed or not, and what may go wrong there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

import fsspec
import pyarrow as pa

from flowkd.errors import DataError, FlowkdError
from flowkd.store.failures import explain_failure, of_client

COMPRESSIONS = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".zip")
COPY_BYTES = 2**20
# What readers and the clients of object stores raise; the latter by name, for none is required.
FAILURES = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    EOFError,
    ImportError,
    MemoryError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pa.ArrowException,
)


def is_pattern(uri: str) -> bool:
    """Tells whether a URI is a pattern of names; the ? of a web address begins its query."""
    if "://" in uri:
        return "*" in re.split(r"[?#]", uri)[0]
    return any(mark in uri for mark in "*?[")


@dataclass(frozen=True)
class Location:
    """A file on any fsspec URL.

    Attributes:
        uri: Its path or URL.
    """

    uri: str

    @property
    def name(self) -> str:
        """The last part of its path, without a query."""
        first = self.uri.split("::")[0]
        if "://" in first:
            first = re.split(r"[?#]", first.split("://", 1)[1])[0]
        return PurePosixPath(first).name

    @property
    def compression(self) -> str | None:
        """The suffix of its compression, if it has one."""
        last = PurePosixPath(self.name).suffix.lower()
        return last if last in COMPRESSIONS else None

    @property
    def suffix(self) -> str:
        """The suffix of its format, without that of a compression."""
        name = PurePosixPath(self.name)
        return (name.with_suffix("") if self.compression else name).suffix.lower()

    @contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """Yields the decompressed file, to be read from its beginning to its end."""
        with ExitStack() as stack:
            file = stack.enter_context(fsspec.open(self.uri, "rb"))
            yield _decompressed(file, self.compression, self.uri, stack)

    @contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """Yields the decompressed file, to be read in any order; a copy where that is needed."""
        with ExitStack() as stack:
            fs, path = fsspec.core.url_to_fs(self.uri)
            direct = self.compression is None and _takes_ranges(fs, path)
            if direct:
                yield stack.enter_context(fs.open(path, "rb"))
                return
            copy = stack.enter_context(tempfile.TemporaryFile())
            with self.stream() as file:
                shutil.copyfileobj(file, copy, COPY_BYTES)
            copy.seek(0)
            yield cast(IO[bytes], copy)

    @contextmanager
    def local(self) -> Iterator[str]:
        """Yields a path on this machine; a copy's where the file is elsewhere or compressed."""
        fs, path = fsspec.core.url_to_fs(self.uri)
        if self.compression is None and "file" in _protocols(fs):
            yield path
            return
        with tempfile.NamedTemporaryFile(suffix=self.suffix) as copy:
            with self.stream() as file:
                shutil.copyfileobj(file, copy, COPY_BYTES)
            copy.flush()
            yield copy.name


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _takes_ranges(fs: Any, path: str) -> bool:
    """Tells whether a filesystem can read from the middle of a file: not every web server does."""
    return "http" not in _protocols(fs) or bool(fs.info(path).get("partial"))


def _decompressed(file: IO[bytes], kind: str | None, where: str, stack: ExitStack) -> IO[bytes]:
    if kind is None:
        return file
    if kind == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(file))
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) != 1:
            raise DataError(
                f"expected one file in {where}; it has {len(members)}: "
                f"{', '.join(info.filename for info in members[:5])}; unpack it, and give the one"
            )
        if members[0].flag_bits & 1:
            raise DataError(f"{where} needs a password; unpack it first")
        return stack.enter_context(archive.open(members[0]))
    if kind == ".gz":
        return cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
    if kind == ".bz2":
        return cast(IO[bytes], stack.enter_context(bz2.BZ2File(file)))
    if kind in (".xz", ".lzma"):
        return cast(IO[bytes], stack.enter_context(lzma.LZMAFile(file)))
    name = {".zst": "zstd", ".lz4": "lz4"}[kind]
    return cast(IO[bytes], stack.enter_context(pa.CompressedInputStream(file, name)))


@contextmanager
def explained(where: str, what: str) -> Iterator[None]:
    """Turns what readers raise for a file that is missing or damaged into a DataError."""
    try:
        yield
    except FlowkdError:
        raise
    except FileNotFoundError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        why = "" if isinstance(cause, FileNotFoundError) else f" ({_line(cause)})"
        raise DataError(f"no file {where!r}{why}; expected a table") from error
    except PermissionError as error:
        raise DataError(f"{where} may not be read: {_line(error)}; see whose it is") from error
    except Exception as error:
        outside = isinstance(error, ImportError) or of_client(error)
        if outside and (said := explain_failure(error)):
            raise DataError(f"{where} cannot be opened: {said}") from error
        if isinstance(error, FAILURES):
            raise DataError(f"{where} cannot be read as {what}: {_line(error)}") from error
        raise


def _line(error: BaseException) -> str:
    """Returns what an error says, in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 300 else f"{text[:300]}..."
