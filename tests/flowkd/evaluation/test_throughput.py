"""Properties of a measured throughput: it follows what a call costs, whatever the threads."""

import time

import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation.throughput import (
    calls_per_second,
    log_prob_per_second,
    samples_per_second,
    seconds_per_call,
)
from tests.support.small_flows import small_flow


def busy(seconds):
    def call():
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    return call


def test_rates_are_in_the_ratio_of_the_costs():
    counted = []
    calls = {"cheap": busy(0.0002), "dear": busy(0.01), "counted": lambda: counted.append(1)}
    began = time.perf_counter()
    rates = calls_per_second(calls, seconds=0.6, rounds=3)
    assert time.perf_counter() - began < 10
    assert list(rates) == list(calls)
    assert 15 < rates["cheap"] / rates["dear"] < 170
    assert rates["counted"] > rates["cheap"]
    assert len(counted) > 100  # what is cheap is repeated, not timed once


def test_each_call_has_its_turn_once_in_each_round():
    turns = []
    calls = {name: lambda name=name: turns.append(name) for name in ("first", "second")}
    times = seconds_per_call(calls, seconds=0, rounds=3)
    assert turns[-6:] == ["first", "second"] * 3
    assert {name: len(found) for name, found in times.items()} == {"first": 3, "second": 3}


@pytest.mark.parametrize("measure", [log_prob_per_second, samples_per_second])
def test_more_rows_a_call_are_more_rows_a_second_and_threads_are_as_before(measure):
    flows = {"flow": small_flow("coupling").float()}
    rows = Examples(torch.randn(512, *flows["flow"].event_shape))
    before = torch.get_num_threads()
    rates = {
        size: measure(flows, rows, None, batch_size=size, seconds=0.2)["flow"] for size in (1, 512)
    }
    assert rates[512] > 4 * rates[1]
    assert torch.get_num_threads() == before
