"""Archives are read member by member; what is cut off, or claims too much, is told."""

import gzip
import io
import stat
import tarfile
import tracemalloc
import uuid
import zipfile
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from flowkd.data.importers import sources
from flowkd.data.importers.damage import explain_damage
from flowkd.data.importers.local_folder import LINKS
from flowkd.data.importers.sources import Source
from flowkd.errors import DataError
from flowkd.store.store import Store

FILES = {"a/one.txt": b"first" * 300, "a/two.txt": b"second" * 400, "three.txt": b"third" * 500}


def tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make(kind, folder):
    path = folder / f"files{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in FILES.items():
                archive.writestr(name, data)
        return path
    if kind == "":
        for name, data in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path
    return tar(path, FILES, "w:" + kind.split(".")[-1].replace("tar", "").replace("tgz", "gz"))


KINDS = ["", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_members_come_with_their_bytes_from_anywhere(tmp_path, kind):
    path = make(kind, tmp_path)
    assert {m.name: m.read() for m in Source(str(path)).members()} == FILES
    assert [m.name for m in Source(str(path)).members(lambda name: "two" in name)] == ["a/two.txt"]
    remote = Store(f"memory://{uuid.uuid4().hex}")
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        remote.write(file.read_bytes(), path.name, *file.relative_to(path).parts)
    source = Source(f"{remote.uri}/{path.name}")
    assert {m.name: m.read() for m in source.members()} == FILES
    assert source.fingerprint() == Source(str(path)).fingerprint()
    remote.remove()


@pytest.mark.parametrize("kind", ["", ".zip"])
def test_listed_members_are_opened_in_any_order(tmp_path, kind):
    with Source(str(make(kind, tmp_path))).all_members() as members:
        assert {m.name: m.read() for m in reversed(members)} == FILES
    with (
        pytest.raises(ValueError, match="come one by one"),
        Source(str(make(".tar", tmp_path))).all_members(),
    ):
        pass


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_an_archive_cut_off_anywhere_is_told(tmp_path, kind):
    path = make(kind, tmp_path)
    whole = path.read_bytes()
    # A tar's closing mark is two blocks of zeros, of which readers ask for one, and padding.
    end = sum(512 + -(-len(data) // 512) * 512 for data in FILES.values()) + 512
    lengths = range(0, end, 256) if kind == ".tar" else range(0, len(whole) - 40, 7)
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"cut off or damaged.* fetch .*{path.name} again"):
            [member.read() for member in Source(str(path)).members()]


def test_a_tar_cut_between_members_names_the_last_whole_one(tmp_path):
    path = make(".tar", tmp_path)
    path.write_bytes(path.read_bytes()[: 512 + 1536])
    with pytest.raises(DataError, match=r"damaged after a/one\.txt: .* without its closing mark"):
        list(Source(str(path)).members())


def test_a_zip_whose_member_is_damaged_names_it(tmp_path):
    path = make(".zip", tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"a/two.txt") + 15] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a/two\.txt in .*files\.zip is cut off or damaged"):
        [member.read() for member in Source(str(path)).members()]


def header(kind, size, name="m"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


class Counting:
    """Decompresses as zlib does, and counts the bytes that come out."""

    def __init__(self, inner, counted):
        self.inner, self.counted = inner, counted

    def decompress(self, *arguments):
        data = self.inner.decompress(*arguments)
        self.counted.append(len(data))
        return data

    def __getattr__(self, name):
        return getattr(self.inner, name)


def refused_cheaply(call, match):
    """Sees that a call is refused before much is decompressed or in memory."""
    counted, begin = [], zlib.decompressobj
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zlib, "decompressobj", lambda *how: Counting(begin(*how), counted))
            with pytest.raises(DataError, match=match):
                call()
        assert sum(counted) < 8 * 2**20
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


ZEROS = 100 * 2**20


def gzip_bomb(path, first):
    """Writes a gzip stream of some bytes and 100 MB of zeros."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(first)
        for _ in range(100):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_100_mb_is_refused(tmp_path, kind):
    path = tmp_path / "bomb.tar.gz"
    gzip_bomb(path, header(kind, ZEROS))
    refused_cheaply(lambda: list(Source(str(path)).members()), "name claims 104,857,600 bytes")


def test_a_member_that_claims_or_holds_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.tar.gz"
    gzip_bomb(path, header(tarfile.REGTYPE, 20 * 2**30))
    refused_cheaply(lambda: list(Source(str(path)).members()), "claims 21,474,836,480 bytes")
    packed = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("zeros.bin", "w") as file,
    ):
        for _ in range(100):
            file.write(bytes(2**20))
    assert packed.stat().st_size < 2**20
    (member,) = Source(str(packed)).members()
    refused_cheaply(
        lambda: member.read(max_bytes=2**20), "at most 1,048,576 bytes; it has 104,857,600"
    )
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 2**20)
    refused_cheaply(lambda: list(Source(str(packed)).members()), "at most 1,048,576")


def test_a_zip_member_that_holds_more_than_it_claims_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.bin", bytes(50 * 2**20))
    size = (50 * 2**20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    refused_cheaply(
        lambda: [member.read() for member in Source(str(path)).members()], "cut off or damaged"
    )


def test_nothing_is_written_and_links_and_devices_are_passed_over(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in {
            "link.txt": tarfile.SYMTYPE, "hard.txt": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE,
            "null": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE, "folder": tarfile.DIRTYPE,
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            archive.addfile(info)
        for name in ("../../outside.txt", "/tmp/absolute.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
    packed = folder / "evil.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../outside.txt", b"data")
    before = sorted(tmp_path.rglob("*"))
    for source, names in ((path, ["../../outside.txt", "/tmp/absolute.txt"]), (packed, None)):
        found = {member.name: member.read() for member in Source(str(source)).members()}
        assert found == dict.fromkeys(names or ["../../outside.txt"], b"data")
    assert sorted(tmp_path.rglob("*")) == before


def test_links_in_archives_are_noted(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.png")
            info.type, info.linkname = kind, "a.png"
            archive.addfile(info)
    packed = tmp_path / "links.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("1.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "a.png")
    for file, count in ((path, 2), (packed, 1)):
        source = Source(str(file))
        assert list(source.members()) == []
        assert source.notes.count(LINKS) == count


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (8, (1).to_bytes(2, "little"), r"one\.txt in .* is encrypted with a password; unpack"),
        (10, (9).to_bytes(2, "little"), r"one\.txt in .* is compressed by method 9; expected"),
    ],
)
def test_a_zip_that_cannot_be_unpacked_is_told_before_it_is_read(tmp_path, place, value, message):
    path = make(".zip", tmp_path)
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + place
    data[start : start + 2] = value
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        list(Source(str(path)).members())
    assert len(list(Source(str(path)).members(lambda name: name == "three.txt"))) == 1


class NoLengths(SimpleHTTPRequestHandler):
    """Serves files, but no ranges of them; of .bin files it does not tell the length."""

    def log_message(self, *arguments):
        pass

    def send_header(self, keyword, value):
        if keyword != "Content-Length" or not self.path.endswith(".bin"):
            super().send_header(keyword, value)


@pytest.fixture
def web(tmp_path):
    make(".zip", tmp_path)
    make(".tar", tmp_path)
    (tmp_path / "a.bin").write_bytes(b"a" * 5000)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(NoLengths, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_without_ranges_is_told_or_read_from_beginning_to_end(web):
    with pytest.raises(DataError, match=r"files\.zip cannot be read: .* a range of bytes"):
        list(Source(f"{web}/files.zip").members())
    assert {m.name: m.read() for m in Source(f"{web}/files.tar").members()} == FILES
    with pytest.raises(DataError, match=r"a\.bin cannot be read: .* how many bytes"):
        list(Source(f"{web}/a.bin").members())


def test_headers_of_a_long_tar_do_not_pile_up(tmp_path):
    path = tar(tmp_path / "many.tar", {f"{number:06d}": b"" for number in range(5000)})
    tracemalloc.start()
    count = sum(1 for _ in Source(str(path)).members())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, peak < 2**20) == (5000, True)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no '.*nowhere\.tar'; expected a file, a folder"):
        Source(str(tmp_path / "nowhere.tar"))
    with pytest.raises(DataError, match="cannot open what://x"):
        Source("what://x")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "denied"), "cannot be read: .*denied"),
        (ConnectionResetError("reset"), "cannot be read: reset; see whether it is there"),
        (OSError(28, "no space left"), "cannot be read"),
        (OSError("Invalid data stream"), "is cut off or damaged: Invalid data stream"),
        (EOFError("ended"), "is cut off or damaged: ended"),
        (RuntimeError("File 'x.npy' is encrypted, password required"), "with a password; unpack"),
    ],
)
def test_what_cannot_be_reached_is_not_called_damaged(error, message):
    with pytest.raises(DataError, match=message), explain_damage("a in b"):
        raise error
