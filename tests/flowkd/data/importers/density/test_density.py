"""Properties of POWER, GAS, HEPMASS, MINIBOONE and BSDS300: bit by bit what their authors made."""

import importlib
import io
import re

import numpy as np
import pytest

import tests.support.density_files as small
import tests.support.density_oracles as oracles
from flowkd.config import parse_config
from flowkd.data.importers.density.base import last_tenth
from flowkd.data.importers.density.bsds300 import Bsds300Config
from flowkd.data.importers.density.gas import GasConfig
from flowkd.data.importers.density.hepmass import HepmassConfig
from flowkd.data.importers.density.miniboone import MiniBooNEConfig
from flowkd.data.importers.density.power import PowerConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import DataError

SPLITS = ("train", "val", "test")
CONFIGS = {
    "power": PowerConfig,
    "gas": GasConfig,
    "hepmass": HepmassConfig,
    "miniboone": MiniBooNEConfig,
    "bsds300": Bsds300Config,
}
# As the literature has them.
PUBLISHED = {
    "power": (6, 1_659_917, 184_435, 204_928),
    "gas": (8, 852_174, 94_685, 105_206),
    "hepmass": (21, 315_123, 35_013, 174_987),
    "miniboone": (43, 29_556, 3_284, 3_648),
    "bsds300": (63, 1_000_000, 50_000, 250_000),
}
FOLDERS = {kind: kind for kind in CONFIGS} | {"bsds300": "BSDS300"}
every_kind = pytest.mark.parametrize("kind", CONFIGS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return small.archive(tmp_path_factory.mktemp("maf") / "data.tar.gz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.folder(tmp_path_factory.mktemp("maf"))


def imported(store, kind, source, **options):
    manifest = prepare(CONFIGS[kind](source=str(source), **options), store)
    return manifest, [load_split(store, manifest, split).x.numpy() for split in SPLITS]


def expected(kind):
    """Returns the names of the columns, or None, and the rows of train, val and test."""
    if kind == "gas":
        return oracles.gas(small.gas())
    if kind == "hepmass":
        files = small.files()
        data = [files[f"data/hepmass/1000_{split}.csv"] for split in ("train", "test")]
        return oracles.hepmass(*map(io.BytesIO, data))
    if kind == "bsds300":
        return None, list(small.bsds300().values())
    return None, getattr(oracles, kind)(getattr(small, kind)())


@every_kind
def test_values_and_splits_are_the_authors_bit_by_bit(memory_store, archive, kind):
    manifest, found = imported(memory_store, kind, archive)
    names, rows = expected(kind)
    train, val, test = (split.astype(np.float32) for split in rows)
    assert manifest.event_shape == (PUBLISHED[kind][0],) == train.shape[1:]
    assert names is None or manifest.columns == names
    np.testing.assert_array_equal(found[1], val)
    np.testing.assert_array_equal(found[2], test)
    assert sorted(found[0].tolist()) == sorted(train.tolist())
    assert found[0].tolist() != train.tolist()  # shuffled
    np.testing.assert_allclose(manifest.mean, train.mean(0, dtype=float), atol=1e-12)
    np.testing.assert_allclose(manifest.scale, train.std(0, dtype=float), rtol=1e-12)


@every_kind
def test_the_seed_orders_train_and_nothing_else(memory_store, archive, kind):
    _, first = imported(memory_store, kind, archive)
    _, again = imported(memory_store, kind, archive, name="again")
    _, other = imported(memory_store, kind, archive, seed=1)
    assert all(map(np.array_equal, first, again))
    assert all(map(np.array_equal, first[1:], other[1:]))
    assert not np.array_equal(first[0], other[0])


@every_kind
def test_archive_folder_and_file_are_the_same_dataset(memory_store, archive, folder, kind):
    own = folder / "data" / FOLDERS[kind]
    sources = [folder, folder / "data", own]
    sources += [path for path in own.iterdir() if kind != "hepmass"]
    files = small.files()
    sources.append(small.archive(folder / "dots.tar.gz", files, prefix="./"))
    manifest, first = imported(memory_store, kind, archive)
    for source in sources:
        again, found = imported(memory_store, kind, source)
        shards = [[s.sha256 for s in m.splits["train"].shards] for m in (manifest, again)]
        assert shards[0] == shards[1]
        assert all(map(np.array_equal, first, found)), source


@every_kind
def test_published_numbers_of_rows_need_no_remark(memory_store, archive, monkeypatch, kind):
    module = importlib.import_module(f"flowkd.data.importers.density.{kind}")
    published = module.PUBLISHED
    assert (published.columns, *published.rows) == PUBLISHED[kind]
    manifest, found = imported(memory_store, kind, archive)
    counts = tuple(map(len, found))
    # The small files repeat values, as those of the authors do not.
    *dependent, remark, few = [each for each in manifest.remarks if not each.startswith("`")]
    assert len(dependent) == (kind in ("power", "gas", "bsds300"))
    assert all("which take them for independent, are too small" in each for each in dependent)
    assert few.startswith("Fewer than 30 independent rows: ")
    for wanted in (published.rows, counts):
        assert " / ".join(f"{count:,}" for count in wanted) in remark
    known = type(published)(published.title, published.columns, counts, published.values)
    monkeypatch.setattr(module, "PUBLISHED", known)
    manifest, _ = imported(memory_store, kind, archive, seed=1)
    assert [each for each in manifest.remarks if not each.startswith("`")] == [few]


def test_columns_are_remarked_as_those_of_any_table_and_left_as_they_are(memory_store, tmp_path):
    x = small.miniboone()
    x[:, 3] = np.round(x[:, 3] / 9)
    x[:, 7] = x[:, 5] + 1e-3 * x[:, 6]
    x[:, 9] = np.exp(5 * x[:, 9] / 7)
    source = small.folder(tmp_path, {"data/miniboone/data.npy": small.npy(x)})
    manifest, _ = imported(memory_store, "miniboone", source)
    told = [each for each in manifest.remarks if each.startswith("`")]
    assert len(told) == 4
    assert told[0].startswith("`x5` and `x7` are correlated by 1.0000: ")
    assert re.fullmatch(r"`x3` has \d distinct values in .* has no upper bound\.", told[1])
    assert re.match(r"`x9` has 98 distinct values, of which float32 leaves \d\d", told[2])
    assert told[3].startswith("`x9` has long tails: ")
    assert not any("--set" in each or "; " in each for each in told)
    assert len(manifest.columns) == 43


@pytest.mark.parametrize("kind", ["power", "gas", "miniboone", "hepmass"])
def test_tenths_of_the_published_rows_are_the_published_splits(kind):
    _, train, val, test = PUBLISHED[kind]
    rest = np.arange(train + val + (0 if kind == "hepmass" else test))
    if kind != "hepmass":
        rest, found = last_tenth(rest, "x")
        assert len(found) == test
    assert [len(part) for part in last_tenth(rest, "x")] == [train, val]


@every_kind
def test_its_configuration_needs_a_source_alone(kind):
    config = parse_config(CONFIGS[kind], {"kind": kind, "source": "data.tar.gz"}, source="a test")
    assert (config.name, config.seed) == (kind, 0)


@every_kind
def test_an_import_cut_short_leaves_nothing_to_be_seen(memory_store, archive, monkeypatch, kind):
    def full(self, *arguments, **options):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("flowkd.data.writing.write_sealed", full)
        with pytest.raises(DataError, match="no space"):
            imported(memory_store, kind, archive)
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(memory_store, kind)
    imported(memory_store, kind, archive)
