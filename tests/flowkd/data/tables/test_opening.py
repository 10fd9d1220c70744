"""Properties of all formats: one table whatever holds it, read in parts, and nothing else read."""

import http.server
import threading
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowkd.data.tables import table
from flowkd.data.tables.opening import FORMATS, open_table
from flowkd.errors import DataError
from tests.support.tables import CSV, FRAME, NAMELESS, NAMES, VALUES, WRITERS, read

BOTH = [*((name, NAMES) for name in WRITERS), *((name, ["x0", "x1", "x2"]) for name in NAMELESS)]


@pytest.fixture(params=BOTH, ids=lambda both: both[0])
def stored(request, tmp_path):
    name, names = request.param
    ({**WRITERS, **NAMELESS})[name](tmp_path / name)
    return tmp_path / name, names


def test_every_format_holds_the_same_rows(stored):
    path, names = stored
    found, values = read(path)
    assert found == names
    np.testing.assert_array_equal(values.astype(np.float32), VALUES)


def test_columns_are_chosen_in_any_order_and_read_in_batches(stored, monkeypatch):
    monkeypatch.setattr(table, "MAX_BATCH_ROWS", 6)
    path, names = stored
    found, values = read(path, [names[2], names[0]])
    assert found == [names[2], names[0]]
    np.testing.assert_array_equal(values.astype(np.float32), VALUES[:, [2, 0]])


def test_a_table_can_be_read_again(stored):
    path, _ = stored
    with open_table(str(path)) as opened:
        numbers = range(len(opened.fields))
        first, second = (
            [pa.array(a).to_pylist() for batch in opened.batches(numbers) for a in batch]
            for _ in range(2)
        )
    assert first == second
    assert first


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_a_file_of_another_kind_is_one_line(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"\x00\x01 this is none of them \xff" * 30)
    with pytest.raises(DataError, match=r"^[^\n]*t\.\w+ cannot be read as") as caught:
        read(path)
    assert str(caught.value).isprintable()


# A text does not say how long it is.
SIZED = [name for name, _ in BOTH if not name.endswith((".csv", ".tsv", ".txt", ".dat"))]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", SIZED)
def test_a_file_that_is_cut_off_is_never_half_a_table(tmp_path, name, share):
    path = tmp_path / name
    ({**WRITERS, **NAMELESS})[name](path)
    cut = path / "part-1.pq" if path.is_dir() else path
    cut.write_bytes(cut.read_bytes()[: int(share * cut.stat().st_size)])
    try:
        _, values = read(path)
    except DataError:
        return
    np.testing.assert_array_equal(values.astype(np.float32), VALUES)  # what is missing has no rows


def test_files_are_found_by_a_pattern_or_in_a_folder_and_others_are_told(tmp_path):
    WRITERS["folder"](tmp_path / "folder")
    (tmp_path / "folder" / "notes.md").write_text("read me")
    (tmp_path / "folder" / "year=2021").mkdir()
    pq.write_table(pa.Table.from_pandas(FRAME), tmp_path / "folder" / "year=2021" / "part-9.pq")
    with open_table(str(tmp_path / "folder")) as opened:
        assert opened.rows == 80
        found = [(note.what, note.names) for note in opened.left_out]
    assert found == [("columns", ["year"]), ("files", ["notes.md"])]
    _, values = read(tmp_path / "folder" / "part-[01].pq")
    np.testing.assert_array_equal(values.astype(np.float32), VALUES[:20])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no file"),
        ({"a.doc": "x"}, r"expected tables in .*; got .*a\.doc"),
        ({"a.csv": CSV, "b.npy": "x"}, "expected files of one format in .*; got csv, npy"),
        ({"a.csv": CSV, "b.csv": CSV.replace("b", "q", 1)}, r"a\.csv in .*b\.csv.* by 'b', 'q'"),
    ],
)
def test_a_folder_that_is_no_table_is_refused(tmp_path, files, message):
    (tmp_path / "folder").mkdir()
    for name, text in files.items():
        (tmp_path / "folder" / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "folder")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.csv", r"no file 'none\.csv'"),
        ("none-*.csv", r"no file 'none-\*\.csv'"),
        ("t.xlsx", r"ends in \.csv, .*; got 't\.xlsx'"),
        ("foo://host/t.csv", "Protocol not known"),
        ("http://127.0.0.1:9/t.csv", r"no file .* \(.*Connect call failed"),
    ],
)
def test_a_source_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(DataError, match=message):
        read(source)


def test_an_option_that_the_format_does_not_know_is_refused(tmp_path):
    WRITERS["t.parquet"](tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"parquet, which has no delimiter, key; leave them out"):
        read(tmp_path / "t.parquet", key="x", delimiter=";")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "matrix.h5", "t.fits"])
def test_a_signed_address_is_read_though_its_server_knows_no_ranges(tmp_path, name):
    ({**WRITERS, **NAMELESS})[name](tmp_path / name)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        _, values = read(
            f"http://127.0.0.1:{server.server_port}/{name}?X-Amz-Signature=1f&n=a*.txt"
        )
    finally:
        server.shutdown()
        server.server_close()
    np.testing.assert_array_equal(values.astype(np.float32), VALUES)
