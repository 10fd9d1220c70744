"""The same table in every format, for the tests of its readers."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import uproot
from astropy.io import fits

from flowkd.data.tables.columns import check_numeric, columns_of, named, variables
from flowkd.data.tables.opening import open_table
from flowkd.data.tables.rows import read_rows
from flowkd.data.tables.table import ReadOptions

VALUES = np.random.default_rng(0).normal(3.0, 2.0, (40, 3)).astype(np.float32)
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(VALUES, columns=NAMES)
RECORDS = np.rec.fromarrays(VALUES.T, names="a,b,c")
ARROW = pa.table({name: VALUES[:, number] for number, name in enumerate(NAMES)})
CSV = FRAME.to_csv(index=False)


def read(
    path: Path | str, names: list[str] | None = None, **options: object
) -> tuple[list[str], np.ndarray]:
    """Returns names and values of a table's columns: those named, or all that are variables."""
    with open_table(str(path), ReadOptions(**options)) as table:  # type: ignore[arg-type]
        columns = columns_of(table)
        chosen = variables(table, columns, []) if names is None else named(table, columns, names)
        check_numeric(table, chosen)
        return [column.name for column in chosen], read_rows(table, chosen).values


def _arrow(stream: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        new = pa.ipc.new_stream if stream else pa.ipc.new_file
        with new(str(path), ARROW.schema) as writer:
            writer.write_table(ARROW, max_chunksize=7)

    return write


def _hdf5(**arrays: np.ndarray) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name.replace("__", "/")] = array

    return write


def _tree(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mktree("events", {name: VALUES[:, n] for n, name in enumerate(NAMES)})


def _ntuple(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {name: VALUES[:, n] for n, name in enumerate(NAMES)})


def _npy_gz(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        np.save(file, VALUES)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.csv", CSV)


def _zstd(path: Path) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(CSV.encode())


def _folder(path: Path) -> None:
    path.mkdir()
    for number in range(4):
        part = ARROW.slice(10 * number, 10)
        # Parts that were written by different versions differ in the order of their columns.
        pq.write_table(
            part.select(NAMES[::-1] if number == 2 else NAMES), path / f"part-{number}.pq"
        )
    (path / "_SUCCESS").write_text("")
    (path / ".part-0.pq.crc").write_bytes(b"crc")


# What each file is called, and what writes VALUES into it.
WRITERS: dict[str, Callable[[Path], object]] = {
    "t.csv": lambda path: path.write_text(CSV),
    "crlf.csv": lambda path: path.write_bytes(CSV.replace("\n", "\r\n").encode()),
    "mark.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + CSV.encode()),
    "utf16.csv": lambda path: path.write_bytes(CSV.encode("utf-16")),
    "utf16be.csv": lambda path: path.write_bytes(CSV.encode("utf-16-be")),
    "blanks.csv": lambda path: path.write_text(CSV.replace(",", ", ")),
    "comments.csv": lambda path: path.write_text("# made by hand\n\n" + CSV),
    "semicolons.csv": lambda path: FRAME.to_csv(path, index=False, sep=";"),
    "decimal.csv": lambda path: FRAME.to_csv(path, index=False, sep=";", decimal=","),
    "bars.csv": lambda path: FRAME.to_csv(path, index=False, sep="|"),
    "quoted.csv": lambda path: FRAME.to_csv(path, index=False, quoting=1),
    "index.csv": lambda path: FRAME.to_csv(path),
    "read-again.csv": lambda path: FRAME.reset_index(names="Unnamed: 0").to_csv(path, index=False),
    "trailing.csv": lambda path: path.write_text(CSV.replace("\n", ",\n")),
    "signs.csv": lambda path: path.write_text(
        "a,b,c\n" + "\n".join(",".join(f"{value:+.9e}" for value in row) for row in VALUES.tolist())
    ),
    "minus.csv": lambda path: path.write_text(CSV.replace("-", "\u2212"), encoding="utf-8"),
    "fortran.csv": lambda path: path.write_text(
        "a,b,c\n"
        + "\n".join(
            ",".join(f"{value:.9e}".replace("e", "D") for value in row) for row in VALUES.tolist()
        )
    ),
    "t.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "t.txt": lambda path: path.write_text(FRAME.to_string(index=False, float_format="%.9g")),
    "savetxt.dat": lambda path: np.savetxt(path, VALUES, fmt="%.9g", header="a b c"),
    "t.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.encode())),
    "t.csv.bz2": lambda path: path.write_bytes(bz2.compress(CSV.encode())),
    "t.csv.xz": lambda path: path.write_bytes(lzma.compress(CSV.encode())),
    "t.csv.zst": _zstd,
    "t.csv.zip": _zip,
    "t.parquet": lambda path: pq.write_table(ARROW, path, row_group_size=7),
    "folder": _folder,
    "t.arrow": _arrow(stream=False),
    "stream.arrow": _arrow(stream=True),
    "t.feather": lambda path: pyarrow.feather.write_feather(ARROW, str(path)),
    "records.npy": lambda path: np.save(path, RECORDS),
    "columns.npz": lambda path: np.savez_compressed(
        path, **{name: VALUES[:, n] for n, name in enumerate(NAMES)}
    ),
    "group.h5": _hdf5(**{f"g__{name}": VALUES[:, n] for n, name in enumerate(NAMES)}),
    "records.h5": _hdf5(d__x=RECORDS),
    "t.fits": lambda path: fits.BinTableHDU(RECORDS).writeto(path),
    "tree.root": _tree,
    "ntuple.root": _ntuple,
}
# Those without names of their own, whose columns are called x0, x1, x2.
NAMELESS: dict[str, Callable[[Path], object]] = {
    "t.npy": lambda path: np.save(path, VALUES),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(VALUES)),
    "swapped.npy": lambda path: np.save(path, VALUES.astype(">f8")),
    "one.npz": lambda path: np.savez(path, x=VALUES),
    "fortran.npz": lambda path: np.savez_compressed(path, x=np.asfortranarray(VALUES)),
    "matrix.h5": _hdf5(deep__x=VALUES),
    "t.npy.gz": _npy_gz,
}
