"""Properties of texts: no cell is altered, what is guessed is told, and a faulty cell is named."""

import numpy as np
import pytest

from flowkd.data.tables import text
from flowkd.data.tables.columns import columns_of
from flowkd.data.tables.opening import open_table
from flowkd.data.tables.rows import read_rows
from flowkd.data.tables.table import ReadOptions
from flowkd.errors import DataError
from tests.support.tables import CSV, VALUES, read

NUMBERS = np.random.default_rng(1).normal(size=(60, 2)).tolist()
LINES = [f"{a!r},{b!r}\n" for a, b in NUMBERS]
ROWS = "".join(LINES)


def write(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def remarks(path, **options):
    with open_table(str(path), ReadOptions(**options)) as table:
        return " ".join(table.remarks)


def test_numbers_are_read_to_the_last_bit(tmp_path):
    exact = [*NUMBERS, [5e-324, 1.7976931348623157e308], [2**53 - 1, -0.1]]
    content = "a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in exact)
    with open_table(str(write(tmp_path, content))) as table:
        found = read_rows(table, columns_of(table), stored=np.float64).values
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (CSV.replace(",", ";"), "';'"),
        (CSV.replace(",", "\t"), r"'\t'"),
        (CSV.replace(",", ";").replace(".", ","), "',' as the decimal mark"),
        (CSV.encode("utf-16"), "UTF-16"),
        (CSV.replace("a,", "Größe,", 1).encode("latin-1"), "LATIN-1"),
    ],
)
def test_what_is_guessed_is_told(tmp_path, content, told):
    path = write(tmp_path, content)
    assert told in remarks(path)
    np.testing.assert_array_equal(read(path)[1].astype(np.float32), VALUES)


def test_what_is_said_is_not_guessed(tmp_path):
    path = write(tmp_path, CSV.replace(",", ";").replace(".", ","))
    assert remarks(path, delimiter=";", decimal=",") == ""
    with pytest.raises(DataError, match=r"is ',' the decimal mark\? say `decimal: ','`"):
        read(path, decimal=".")


@pytest.mark.parametrize("block", [2**12, 2**22])
def test_a_quoted_cell_may_have_line_ends_and_be_anywhere(tmp_path, monkeypatch, block):
    monkeypatch.setattr(text, "BLOCK_BYTES", block)
    note = '"' + "x" * 300 + '\nline, two ""quoted"""'
    content = "note,a,b\n" + "".join(f"{note},{row}\n" for row in ROWS.splitlines() * 20)
    _, values = read(write(tmp_path, content), ["a", "b"])
    np.testing.assert_array_equal(values, NUMBERS * 20)


def test_columns_may_turn_from_whole_numbers_to_others_late(tmp_path):
    content = "a,b\n" + "1,2\n3,4\n" * 200_000 + "1.5,-2e-3\n"
    _, values = read(write(tmp_path, content))
    assert values[-1].tolist() == [1.5, -2e-3]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("?", r"got '\?': .*`missing_texts: \['\?'\]` and `incomplete: drop`"),
        ("-", r"got '-'.*`missing_texts: \['-'\]`"),
        ("NA", r"got no value \('NA'\); 1 such rows .*`incomplete: drop`"),
        ("", "got no value; 1 such rows"),
        ("inf", "expected a finite float32; got inf; 1 such rows .*: correct or remove them"),
        ("0x1f", "got '0x1f': it is hexadecimal"),
        ("2021-03-04", "it is a time"),
        ("12:30", "it is a time"),
        ('"1,234"', "it has separators of thousands"),
        ('"1,5"', r"is ',' the decimal mark\?"),
        ("5 kg", "it has a unit"),
        ("12%", "it has a unit"),
        ("<5", "it is a limit"),
        ("12345678901234567890", "12345678901234567890 has more digits .* identifier"),
        ("1_000", "expected a number; got '1_000'"),
    ],
)
@pytest.mark.parametrize("before", [0, 30_000])
def test_a_cell_that_is_no_number_is_named_by_row_and_column(tmp_path, cell, message, before):
    content = "a,b\n" + ROWS * (1 + before // 60) + f"1.5,{cell}\n" + ROWS
    row = 60 * (1 + before // 60) + 1
    with pytest.raises(DataError, match=rf"row {row:,} .*, column 'b': .*{message}"):
        read(write(tmp_path, content))


def test_a_point_among_decimal_commas_is_no_decimal_mark(tmp_path):
    content = "a;b\n" + ROWS.replace(",", ";").replace(".", ",") + "1.234;5,5\n"
    with pytest.raises(DataError, match=r"row 61 .*column 'a': .*got '1.234': it has separators"):
        read(write(tmp_path, content))


def test_rows_without_a_value_are_left_out_and_counted(tmp_path):
    content = "a,b,c\n" + "1,2,\n?,2,3\nNA,2,3\n4,5,6\n"
    path = write(tmp_path, content)
    options = ReadOptions(missing_texts=("?",))
    with open_table(str(path), options) as table:
        columns = columns_of(table)
        read_all = read_rows(table, columns, incomplete="drop")
        read_two = read_rows(table, columns[1:], incomplete="drop")
    assert (read_all.values.tolist(), read_all.incomplete) == ([[4, 5, 6]], 3)
    assert read_all.incomplete_in == ["a", "c"]
    assert (read_all.row_numbers.tolist(), read_two.row_numbers.tolist()) == ([3], [1, 2, 3])
    assert (len(read_two.values), read_two.incomplete) == (3, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.1,,0.3\n1,2,3\n", "expected a header .* got numbers: 0.1, , 0.3; .*`header: false`"),
        ("M,0.4,0.3\n" + ROWS, "got numbers among them: 0.4, 0.3; say `header: false`"),
        ("60,a\n" + ROWS, "got numbers among them: 60; say `header: false`"),
        ("Measured 2021\na,b\n" + ROWS, r"line 1 has 1 value \('Measured 2021'\), .* have 2"),
        ("a\n" + ROWS, "line 1 has 1 value .*give the first column, of names of rows, a name"),
        ("a,\n" + ROWS, r"columns without a name: number 2 \(from 1\)"),
        (",b\n" + ROWS, r"columns without a name: number 1 \(from 1\)"),
        ("a,b\n" + ROWS + "1\n", "row 61 .* has 1 values: '1'; expected 2"),
        ("a,b\n" + ROWS + "1,2,3\n", "row 61 .* has 3 values: '1,2,3'; expected 2"),
        ("a,b\n", "expected rows of .*; it has none"),
        ("a,b", "expected rows of .*; it has none"),
        ("", "it is empty"),
        ("# only\n", "it is empty"),
        ("a,b\n" + "?,2\n" * 9, r"not numeric: a \(text, such as '\?'\)"),
        ("a;b\n1,234;5,678\n2,345;6,789\n", "numbers such as '1,234': say `decimal: ','`"),
        ('a,b\n"1,2\n' + ROWS * 900, "is a quote not closed"),
        (b"PK\x03\x04" + b"x" * 99, "it is no text, but a zip archive or a spreadsheet"),
        (b"\x1f\x8b" + b"x" * 99, "compressed by gzip"),
        (b"a,b\n\0\0\1\2", "it is binary"),
    ],
)
def test_a_text_that_is_no_table_is_refused_by_its_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, content))


def test_the_header_is_what_the_user_says_it_is(tmp_path):
    path = write(tmp_path, "2019,2020\n" + ROWS)
    assert read(path, header=True)[0] == ["2019", "2020"]
    names, values = read(path, header=False)
    assert names == ["x0", "x1"]
    assert values.tolist() == [[2019, 2020], *NUMBERS]


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        (",a,b\n" + "".join(f"{n},{row}" for n, row in enumerate(LINES)), [""]),
        ('"",a,b\n' + "".join(f'"{n}",{row}' for n, row in enumerate(LINES, 1)), [""]),
        ('"",a,b\n' + "".join(f"r{n},{row}" for n, row in enumerate(LINES)), [""]),
        (
            "Unnamed: 0,,a,b\n" + "".join(f"{n},{n},{row}" for n, row in enumerate(LINES)),
            ["Unnamed: 0", ""],
        ),
        ("a,b,\n" + ROWS.replace("\n", ",\n"), [""]),
    ],
)
def test_names_of_rows_are_no_variable(tmp_path, content, left_out):
    path = write(tmp_path, content)
    with open_table(str(path)) as table:
        assert [table.fields[number].name for number in table.index] == left_out
    names, values = read(path)
    assert (names, values.tolist()) == (["a", "b"], NUMBERS)


def test_other_columns_keep_what_is_written(tmp_path):
    content = "a,kind,number,real\n" + "1,x y,01,1\n2,,2,2.5\n3,z,-3,3\n"
    with open_table(str(write(tmp_path, content))) as table:
        a, kind, number, real = columns_of(table)
        others = read_rows(table, [a], [kind, number, real]).others
    assert others["kind"].to_pylist() == ["x y", None, "z"]
    assert others["number"].to_pylist() == [1, 2, -3]
    assert others["real"].to_pylist() == [1, 2.5, 3]
