"""What the authors of Masked Autoregressive Flow make of their files, by pandas and the book.

Source: https://arxiv.org/abs/1705.07057, appendix D; https://github.com/gpapamak/maf.
"""

from collections import Counter

import numpy as np
import pandas as pd


def tenths(rows):
    """Returns train, val and test: a tenth off the end, and a tenth of the rest."""
    test = int(0.1 * len(rows))
    val = int(0.1 * (len(rows) - test))
    return np.split(rows, [len(rows) - test - val, len(rows) - test])


def standardised(train, val, test):
    both = np.vstack((train, val))
    return [(rows - both.mean(axis=0)) / both.std(axis=0) for rows in (train, val, test)]


def power(data):
    rng = np.random.RandomState(42)
    order = np.arange(len(data))
    rng.shuffle(order)  # the same draws as those that shuffle rows
    data = data[order][:, [0, 2, 4, 5, 6, 7]]
    data[:, 1] += 0.01 * rng.random_sample(len(data))  # voltage
    data[:, 0] += 0.001 * rng.random_sample(len(data))  # global active power
    data[:, 2:5] += rng.random_sample(3 * len(data)).reshape(-1, 3)  # sub-metering
    return standardised(*tenths(data))


def miniboone(data):
    return standardised(*tenths(data))


def gas(columns):
    frame = pd.DataFrame(columns).drop(columns=["Meth", "Eth", "Time"])
    while True:
        partners = (frame.corr() > 0.98).sum(axis=1)
        if not (partners > 1).any():
            break
        frame = frame.drop(columns=partners.index[partners > 1][0])
    frame = (frame - frame.mean()) / frame.std()
    return list(frame.columns), tenths(frame.to_numpy())


def hepmass(train_file, test_file):
    def signal(file):
        frame = pd.read_csv(file, index_col=False, float_precision="round_trip")
        return frame[frame[frame.columns[0]] == 1].drop(columns=frame.columns[0])

    train, test = signal(train_file), signal(test_file)
    test = test.drop(columns=test.columns[-1])
    mean, scale = train.mean(), train.std()
    train, test = (train - mean) / scale, (test - mean) / scale
    kept = [name for name in train if sorted(Counter(train[name]).items())[0][1] <= 5]
    val = int(0.1 * len(train))
    train, test = train[kept].to_numpy(), test[kept].to_numpy()
    return kept, [train[:-val], train[-val:], test]
