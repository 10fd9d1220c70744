"""The five tables of Masked Autoregressive Flow, small, in the very formats of its archive."""

import io
import tarfile

import h5py
import numpy as np

from tests.support.old_pickles import Int64Index, pickled


def power(rows=120):
    return np.random.default_rng(1).normal(5.0, 3.0, (rows, 8))


def miniboone(rows=120):
    return np.random.default_rng(2).normal(-1.0, 7.0, (rows, 43))


def gas(rows=130):
    """Three columns that are dropped, and eleven sensors, of which three tell nothing new."""
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(2.0, 4.0, rows) for name in "abcdefgh"}
    # h2 and h3 are alike, and alike to h: the first of the three goes, and then the next.
    columns["h2"] = columns["h"] + 0.01 * rng.normal(size=rows)
    columns["h3"] = columns["h2"] + 0.01 * rng.normal(size=rows)
    columns["a2"] = 3 * columns["a"]
    columns["minus"] = columns.pop("c")
    columns["minus"][:] = -columns["b"] + 0.01 * rng.normal(size=rows)  # |r| > .98, but r is not
    first = {"Time": np.arange(rows) / 100, "Meth": np.zeros(rows), "Eth": rng.integers(0, 9, rows)}
    return {**first, **columns}


def hepmass(rows=300, seed=4):
    """A class, 21 features, and six of which the smallest value re-occurs too often."""
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 2.0, (rows, 27))
    for number, column in enumerate((2, 7, 8, 13, 21, 26)):
        x[:, column] = np.round(x[:, column]).clip(0, 1 + number)
    label = (rng.random(rows) < 0.5).astype(float)
    signal = np.flatnonzero(label == 1)
    x[signal[:5], 4] = -100.0  # five times is not too often
    x[signal[:50], 5] = 100.0  # nor is it for a value that is not the smallest
    return np.column_stack([label, x])


def bsds300():
    rng = np.random.default_rng(6)
    rows = {"train": 60, "validation": 9, "test": 20}
    return {name: rng.normal(0, 0.1, (count, 63)).astype("f4") for name, count in rows.items()}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def csv(array, dangling=None):
    """Of the test file, `dangling` is what stands in each line under a name too many."""
    names = ["# label", *(f"f{number}" for number in range(array.shape[1] - 1))]
    lines = [",".join(names + ([] if dangling is None else ["mass"]))]
    lines += [",".join(map(repr, row.tolist())) + (dangling or "") for row in array]
    return "\n".join(lines).encode() + b"\n"


def hdf5(groups):
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        for name, values in groups.items():
            made[name] = values
    return file.getvalue()


def files():
    """Returns every file of the archive by its name there, and another in between."""
    index = Int64Index(data=np.random.default_rng(7).permutation(130), name=None)
    return {
        "data/BSDS300/BSDS300.hdf5": hdf5(bsds300()),
        "data/cifar10/data_batch_1": b"another data set",
        "data/gas/ethylene_CO.pickle": pickled(gas(), index=index),
        "data/hepmass/1000_test.csv": csv(hepmass(200, seed=5), dangling=","),
        "data/hepmass/1000_train.csv": csv(hepmass()),
        "data/miniboone/data.npy": npy(miniboone()),
        "data/power/data.npy": npy(power()),
    }


def folder(path, contents=None):
    for name, data in (contents or files()).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def archive(path, contents=None, prefix=""):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (contents or files()).items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
