"""Properties of a measured throughput: it follows what a call costs, whatever the threads."""

from functools import partial

import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation import throughput
from flowkd.evaluation.throughput import (
    calls_per_second,
    log_prob_per_second,
    samples_per_second,
    seconds_per_call,
)
from tests.support.small_flows import small_flow


class Clock:
    """Stands in for the module time: what is timed alone moves it on."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_rates_are_those_of_the_costs(monkeypatch):
    clock, made = Clock(), []
    monkeypatch.setattr(throughput, "time", clock)

    def call(name, seconds):
        made.append(name)
        hiccup = 1.0 if len(made) == 150 else 0.0  # in one of three rounds: a median leaves it out
        clock.now += seconds + hiccup

    calls = {"cheap": partial(call, "cheap", 0.001), "dear": partial(call, "dear", 0.05)}
    rates = calls_per_second(calls, seconds=1.2, rounds=3)
    assert rates == pytest.approx({"cheap": 1000.0, "dear": 20.0})
    assert made.count("cheap") == 2 + 3 * 200  # once to warm up, once to see how often is enough
    assert made.count("dear") == 2 + 3 * 4


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
