"""The encoding of a text, by its first bytes, and what a file is that is no text."""

from __future__ import annotations

import codecs

from flowkd.errors import DataError

MAGIC = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "compressed by gzip (name it .gz)",
    b"BZh": "compressed by bzip2 (name it .bz2)",
    b"\xfd7zXZ": "compressed by xz (name it .xz)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd (name it .zst)",
    b"PAR1": "Parquet (name it .parquet)",
    b"\x89HDF": "HDF5 (name it .h5)",
    b"ARROW1": "Arrow (name it .arrow)",
    b"SIMPLE  =": "FITS (name it .fits)",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
}


def decoded(sample: bytes, where: str) -> tuple[str, str]:
    """Returns the encoding of a text, and the text that its first bytes are.

    Raises:
        DataError: It is no text.
    """
    for magic, what in MAGIC.items():
        if sample.startswith(magic):
            raise DataError(f"{where} cannot be read as csv: it is no text, but {what}")
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if sample.startswith(mark):
            return encoding, sample.decode(encoding, "ignore")
    if b"\0" in sample:
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if sample[first::2].count(0) > 0.4 * len(sample):
                return encoding, sample.decode(encoding, "ignore")
        raise DataError(f"{where} cannot be read as csv: it is binary, or damaged")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8", text.removeprefix("\ufeff")
    except UnicodeDecodeError:
        return "latin-1", sample.decode("latin-1")
