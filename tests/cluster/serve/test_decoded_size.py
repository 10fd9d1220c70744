"""The size that a file claims is what a reader allocates, whatever writer, codec or damage."""

import contextlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.serve.decoded_size import arrow_size, parquet_size

ROWS = 4000
LIMIT = 10**9


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    return pa.table(
        {
            "zeros": np.zeros(ROWS),
            "noise": generator.normal(size=ROWS).astype(np.float32),
            "kind": pa.array(["star", "galaxy"] * (ROWS // 2)).dictionary_encode(),
        }
    )


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=1500, data_page_size=1000, **options)
    return file.getvalue()


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_pages_of_parquet_are_as_large_as_its_metadata_say(
    table, compression, version, dictionary
):
    content = parquet(
        table,
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        write_page_checksum=True,
    )
    metadata = pq.read_metadata(io.BytesIO(content))
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    expected = sum(
        group.column(number).total_uncompressed_size for group in groups for number in range(3)
    )
    got = parquet_size(content, metadata, LIMIT)
    assert 0.95 * expected < got <= expected  # without the headers of the pages
    assert 1000 < parquet_size(content, metadata, 1000) < got


def test_damaged_pages_are_refused_or_measured(table):
    content = parquet(table, compression="zstd")
    metadata = pq.read_metadata(io.BytesIO(content))
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content) - 2000, 20):
            damaged[place] = generator.integers(256)
        with contextlib.suppress(ValueError):
            assert parquet_size(bytes(damaged), metadata, LIMIT) >= 0
    with pytest.raises(ValueError, match="outside of the file"):
        parquet_size(content[:1000], metadata, LIMIT)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_the_messages_of_arrow_are_as_large_as_their_buffers(table, compression):
    file = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1500)
    sizes = [arrow_size(message) for message in pa.ipc.MessageReader.open_stream(file.getvalue())]
    rows = sum(sizes) - sizes[1]
    assert sizes[0] == 0
    assert 10 < sizes[1] < 100  # star, galaxy
    assert rows == pytest.approx(ROWS * (8 + 4 + 4), rel=0.01)
