"""Tables as bodies: read in any order of columns, refused by name, checked before decoded."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from cluster.serve.errors import ApiError
from cluster.serve.media import ARROW_FILE, ARROW_STREAM, CSV, PARQUET, TABLES
from cluster.serve.tables import TableLimits, parse_table, write_table
from flowkd.predict.requests import InvalidRequestError

LIMITS = TableLimits(names=("ra", "dec"), labels=(), max_rows=100, max_bytes=100_000)
LABELLED = TableLimits(names=("ra", "kind"), labels=("kind",), max_rows=100, max_bytes=100_000)
BINARY = (PARQUET, ARROW_STREAM, ARROW_FILE)


def body(media_type, compression=None, **columns):
    table, file = pa.table(columns), io.BytesIO()
    if media_type == PARQUET:
        pq.write_table(table, file, compression=compression or "none", use_dictionary=False)
    elif media_type == CSV:
        pa.csv.write_csv(table, file)
    else:
        options = pa.ipc.IpcWriteOptions(compression=compression)
        writer = pa.ipc.new_stream if media_type == ARROW_STREAM else pa.ipc.new_file
        with writer(file, table.schema, options=options) as opened:
            opened.write_table(table, max_chunksize=3)
    return file.getvalue()


@pytest.mark.parametrize("media_type", TABLES)
def test_columns_come_by_name(media_type):
    written = body(media_type, dec=[4, 5, 6, 7], ra=[0.1, -2e-300, 3e8, 0.0])
    got = parse_table(written, media_type, LIMITS)
    assert list(got) == ["ra", "dec"]
    assert got["ra"].tolist() == [0.1, -2e-300, 3e8, 0.0]
    assert got["dec"].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("media_type", TABLES)
def test_what_is_written_is_read_to_the_last_bit(media_type):
    generator = np.random.default_rng(0)
    columns = {
        name: generator.integers(0, 2**31, 50, np.uint32).view(np.float32)
        for name in ("ra", 'a "quoted", ümlaut')
    }
    limits = TableLimits(list(columns), (), 100, 100_000)
    got = parse_table(write_table(columns, media_type), media_type, limits)
    for name, values in columns.items():
        finite = np.isfinite(values)
        assert np.array_equal(got[name].astype(np.float32)[finite], values[finite])


@pytest.mark.parametrize("media_type", TABLES)
@pytest.mark.parametrize("kind", [["b", "a", "b"], [2, 0, 1]])
def test_labels_are_texts_or_numbers(media_type, kind):
    got = parse_table(body(media_type, ra=[1.0, 2, 3], kind=kind), media_type, LABELLED)
    assert got["kind"].tolist() == kind


def test_labels_may_be_of_a_dictionary():
    labels = pa.array(["b", "a", "b", "b"]).dictionary_encode()
    for media_type in BINARY:
        written = body(media_type, ra=[1.0, 2, 3, 4], kind=labels)
        assert parse_table(written, media_type, LABELLED)["kind"].tolist() == ["b", "a", "b", "b"]


CSV_READ = {
    "a mark of the order of bytes, blank lines": b"\xef\xbb\xbf\n\nra,dec\n1,2\n\n3,4\n\n",
    "blanks and CR LF": b"ra , dec\r\n1, 2\r\n 3 ,4\r\n",
    "old line ends": b"ra,dec\r1,2\r3,4\r",
    "quotes": b'"ra","dec"\n"1","2"\n3,4',
    "a header over two lines": b'"ra\n",dec\n1,2\n3,4',
    "exponents": b"ra,dec\n1e0,+2.\n3.0E+0,.4e1\n",
}


@pytest.mark.parametrize("case", CSV_READ)
def test_csv_is_read_as_people_write_it(case):
    got = parse_table(CSV_READ[case], CSV, LIMITS)
    assert got["ra"].tolist() == [1, 3]
    assert got["dec"].tolist() == [2, 4]


CSV_REFUSED = {
    "no number": (b"ra,dec\n1,2\n\n3,x\n", r"row 2 \(from 1, .* column 'dec': .* got 'x'"),
    "a boolean": (b"ra,dec\ntrue,2\n", "row 1 .* column 'ra': .* got 'true'"),
    "an underscore": (b"ra,dec\n1,1_0\n", "column 'dec': .* got '1_0'"),
    "NA": (b"ra,dec\n1,NA\n", "column 'dec': .* got 'NA'"),
    "no value": (b"ra,dec\n1,2\n3,\n", "row 2 .* column 'dec': expected a value; got none"),
    "a column too few": (b"ra\n1\n", "the header of the CSV: .* without 'dec'"),
    "a column too many": (b"id,ra,dec\n7,1,2\n", "with the unknown 'id'"),
    "a column twice": (b"ra,dec,ra\n1,2,3\n", "with more than one 'ra'"),
    "semicolons": (b"ra;dec\n1;2\n", "with the unknown 'ra;dec'"),
    "no header": (b"1,2\n3,4\n", "with the unknown '1', '2'"),
    "too many rows": (b"ra,dec\n" + b"1,2\n" * 101, "at most 100 lines after the header; got 101"),
}
CSV_DAMAGED = {
    "a value too few": (b"ra,dec\n1,2\n3\n", "Expected 2 columns, got 1"),
    "a value too many": (b"ra,dec\n1,2,3\n", "Expected 2 columns, got 3"),
    "empty lines": (b"\n\n", "no header"),
    "no UTF-8": ("rä,dec\n1,2\n".encode("latin-1"), "utf-8"),
    "a name without end": (b'"ra,dec\n' + b"1,2\n" * 50_000, "header cannot be read"),
}


@pytest.mark.parametrize("case", CSV_REFUSED)
def test_csv_that_does_not_fit_is_refused_by_name(case):
    content, message = CSV_REFUSED[case]
    with pytest.raises(InvalidRequestError, match=message):
        parse_table(content, CSV, LIMITS)


@pytest.mark.parametrize("case", CSV_DAMAGED)
def test_damaged_csv_is_refused(case):
    content, message = CSV_DAMAGED[case]
    with pytest.raises(ApiError, match=message) as error:
        parse_table(content, CSV, LIMITS)
    assert error.value.status == 400


def test_a_header_alone_has_no_rows():
    for content in (b"ra,dec", b"ra,dec\n\n"):
        assert {len(values) for values in parse_table(content, CSV, LIMITS).values()} == {0}


FEW = [1.0, 2.0]
REFUSED = {
    "a column too few": (
        {"ra": FEW},
        "the table: expected the columns 'ra', 'dec'.* without 'dec'",
    ),
    "a column too many": ({"ra": FEW, "dec": FEW, "id": FEW}, "with the unknown 'id'"),
    "booleans": ({"ra": FEW, "dec": [True, False]}, "column 'dec': .* got bool"),
    "texts": ({"ra": FEW, "dec": ["1", "2"]}, "column 'dec': .* got string"),
    "lists": ({"ra": FEW, "dec": [[1.0], [2.0]]}, "column 'dec': .* got list"),
    "null": ({"ra": FEW, "dec": [1.0, None]}, r"row 2 \(from 1, .* column 'dec': .* got none"),
    "nothing": ({"ra": FEW, "dec": pa.nulls(2)}, "column 'dec': .* got null"),
    "too many rows": ({"ra": np.zeros(101), "dec": np.zeros(101)}, "at most 100 rows; got 10"),
}


@pytest.mark.parametrize("media_type", BINARY)
@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_do_not_fit_are_refused_by_name(media_type, case):
    columns, message = REFUSED[case]
    with pytest.raises(InvalidRequestError, match=message):
        parse_table(body(media_type, **columns), media_type, LIMITS)


@pytest.mark.parametrize("media_type", BINARY)
def test_a_table_that_is_cut_off_is_refused(media_type):
    """Also between two batches, where a stream would only have fewer rows."""
    whole = body(media_type, ra=np.arange(50.0), dec=np.arange(50.0))
    for length in range(0, len(whole), 8):
        with pytest.raises(ApiError, match=f"expected a body of {media_type}: ") as error:
            parse_table(whole[:length], media_type, LIMITS)
        assert error.value.status == 400


def test_a_page_whose_checksum_fails_is_refused():
    table, file = pa.table({"ra": np.arange(50.0), "dec": np.arange(50.0)}), io.BytesIO()
    pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(file.getvalue())
    assert len(parse_table(bytes(content), PARQUET, LIMITS)["ra"]) == 50
    content[200] ^= 1
    with pytest.raises(ApiError, match="CRC"):
        parse_table(bytes(content), PARQUET, LIMITS)


def test_a_second_stream_behind_the_first_is_refused():
    stream = body(ARROW_STREAM, ra=FEW, dec=FEW)
    with pytest.raises(ApiError, match="expected one stream"):
        parse_table(stream + stream, ARROW_STREAM, LIMITS)


BOMBS = {
    "rows": {"ra": np.zeros(3_000_000), "dec": np.zeros(3_000_000)},
    "bytes": {"ra": np.zeros(20), "kind": ["a" * 500_000] * 20},
}


@pytest.mark.parametrize("media_type", BINARY)
@pytest.mark.parametrize("case", BOMBS)
def test_what_expands_is_refused_before_it_does(media_type, case):
    compression = "zstd"
    table = pa.table(BOMBS[case])
    file = io.BytesIO()
    if media_type == PARQUET:
        pq.write_table(table, file, compression=compression, use_dictionary=case == "rows")
    else:
        feather.write_feather(table, file, compression=compression, chunksize=10**7)
    content = file.getvalue()
    if media_type == ARROW_STREAM:
        content = content[8:]
    assert len(content) < table.nbytes / 500
    pool, usual = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with pytest.raises((ApiError, InvalidRequestError), match=r"at most 100(000 bytes| rows)"):
            parse_table(content, media_type, LIMITS if case == "rows" else LABELLED)
        assert pool.max_memory() < 2**20
    finally:
        pa.set_memory_pool(usual)
