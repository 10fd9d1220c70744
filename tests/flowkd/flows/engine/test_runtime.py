"""ONNX Runtime computes the flow itself: any number of rows, both directions, every context."""

from __future__ import annotations

import copy
import os
import pickle

import psutil
import pytest
import torch
from torch import Tensor

import flowkd
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.flow import Flow, standard_normal_log_prob
from flowkd.flows.glow import GlowConfig
from tests.support.small_flows import CONFIGS, ENERGIES, PICTURES, randomise, small_batch

pytest.importorskip("onnxruntime")

# Each takes seconds to build: one of every kind of step and of context.
SOME = ("glow of a vector", "coupling, transformed", "coupling of classes")
# A level of many places, which stays convolutions, and one of few, which becomes products.
LEVELS = GlowConfig(event_shape=(1, 16, 16), levels=2, depth=1, width=8, classes=3, **PICTURES)
SPLINES = CouplingConfig(
    event_shape=(3,), mean=0.0, scale=0.5, depth=1, width=6, blocks=1, transform="spline",
    bins=3, context_size=2, **ENERGIES
)  # fmt: skip
CASES = {name: CONFIGS[name] for name in CONFIGS if name in SOME} | {
    "glow of levels": LEVELS,
    "splines of a vector": SPLINES,
    "autoregressive of a vector": AutoregressiveConfig(
        event_shape=(3,),
        mean=0.0,
        scale=0.5,
        depth=1,
        width=6,
        blocks=1,
        bins=3,
        context_size=2,
        **ENERGIES,
    ),
    "autoregressive, sampling": CONFIGS["autoregressive, sampling"],
}


def built(name: str) -> Flow:
    return randomise(build_flow(CASES[name]), by=0.1)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Flow, Flow, Flow]:
    """A flow, and its form for inference in torch and in ONNX Runtime."""
    flow = built(request.param)
    forms = (flowkd.for_inference(flow, engine) for engine in ("torch", "onnx"))
    return flow, *forms


def given(flow: Flow, rows: int) -> tuple[Tensor, Tensor | None]:
    return small_batch(flow, rows, dtype=torch.float32)


def close(flow: Flow, got: Tensor, expected: Tensor) -> None:
    if got.shape[1:] == flow.event_shape:  # in units of order one, where they are finite
        got, expected = (flow.preprocess(x)[0] for x in (got, expected))
    assert got.dtype == expected.dtype
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2, 7, 256])
def test_any_number_of_rows_is_computed_in_both_directions(case, rows):
    flow, torchs, onnx = case
    x, context = given(flow, rows)
    expected, got = torchs(x, context), onnx(x, context)
    assert got.log_prob.shape == (rows,)
    close(flow, got.log_prob, expected.log_prob)
    close(flow, got.z, expected.z)
    close(flow, onnx.inverse(expected.z, context), torchs.inverse(expected.z, context))


def test_what_is_not_one_pass_is_torchs_and_nobody_is_warned(case, recwarn, monkeypatch):
    monkeypatch.setenv("FLOWKD_ENGINE", "auto")
    flow, _, onnx = case
    passes = flow.one_pass
    assert onnx.engine.directions == tuple(
        direction
        for direction, there in zip(("log_prob", "inverse"), passes.values(), strict=True)
        if there
    )
    assert flowkd.for_inference(flow).engine is not None
    assert not recwarn.list


@torch.no_grad()
def test_a_round_trip_and_the_log_determinant_are_those_of_the_exact_flow(case):
    flow, _, onnx = case
    exact = copy.deepcopy(flow).double()
    x, context = given(flow, 9)
    found = onnx(x, context)
    close(flow, onnx.inverse(found.z, context), x)
    log_det = found.log_prob - standard_normal_log_prob(found.z)
    for row in range(2):
        one = None if context is None else context[row : row + 1]

        def latents(value: Tensor, one: Tensor | None = one) -> Tensor:
            return exact(value[None], one).z[0].flatten()

        with torch.enable_grad():
            jacobian = torch.autograd.functional.jacobian(latents, x[row].double())
        known = torch.linalg.slogdet(jacobian.reshape(flow.dimensions, -1)).logabsdet
        assert log_det[row].item() == pytest.approx(known.item(), rel=1e-4, abs=1e-3)


def test_a_seed_gives_the_samples_of_torch_but_for_rounding_and_the_same_ones_again(case):
    flow, torchs, onnx = case
    _, context = given(flow, 5)
    drawn = [
        form.sample(5, context, temperature=0.8, generator=torch.Generator().manual_seed(3))
        for form in (torchs, onnx, onnx)
    ]
    close(flow, drawn[1], drawn[0])
    assert torch.equal(drawn[1], drawn[2])


@pytest.fixture(scope="module")
def table() -> tuple[Flow, Flow]:
    flow = built("coupling of classes")
    return flow, flowkd.for_inference(flow, "onnx")


def test_another_context_or_shape_is_refused_as_by_torch(table):
    _, onnx = table
    x, context = given(onnx, 4)
    for bad in ((x, None), (x[:, :2], context), (x, context + 3), (x.double(), context)):
        with pytest.raises(ValueError, match="expected"):
            onnx.log_prob(*bad)


def test_where_taps_or_gradients_are_asked_for_torch_computes(table):
    flow, onnx = table
    x, context = given(flow, 4)
    assert onnx(x, context, taps=["step0"]).states["step0"].h.shape == (4, *flow.latent_shape)
    score = torch.autograd.grad(onnx.log_prob(x.requires_grad_(), context).sum(), x)[0]
    known = torch.autograd.grad(flow.log_prob(x, context).sum(), x)[0]
    torch.testing.assert_close(score, known, rtol=1e-3, atol=1e-4)


def test_copies_and_what_is_cast_or_loaded_anew_is_computed_by_torch(table):
    _, onnx = table
    x, context = given(onnx, 4)
    expected = onnx.log_prob(x, context)
    for other in (copy.deepcopy(onnx), pickle.loads(pickle.dumps(onnx))):
        assert other.engine is None
        torch.testing.assert_close(other.log_prob(x, context), expected, rtol=1e-5, atol=1e-4)
    assert onnx.to("cpu").engine is not None  # nothing has changed
    form = flowkd.for_inference(built("coupling of classes"), "onnx")
    form.load_state_dict({name: 0 * value for name, value in form.state_dict().items()})
    assert form.engine is None
    form = flowkd.for_inference(built("coupling of classes"), "onnx")
    assert form.double().log_prob(x.double(), context).dtype == torch.float64


def test_a_call_of_many_rows_is_the_calls_of_a_few(table):
    flow, onnx = table
    x, context = given(flow, 50)
    whole = onnx(x, context)
    few = flowkd.for_inference(flow, "onnx")
    few.engine.rows = 16
    parts = few(x, context)
    torch.testing.assert_close(parts.z, whole.z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.log_prob, whole.log_prob, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        few.inverse(whole.z, context), onnx.inverse(whole.z, context), rtol=1e-4, atol=1e-3
    )


def test_resident_memory_is_flat_over_requests_of_mixed_sizes():
    config = CouplingConfig(event_shape=(2,), mean=0.0, scale=1.0, depth=1, width=256)
    onnx = flowkd.for_inference(build_flow(config), "onnx")
    rows = torch.randn(60_000, 2)

    def resident() -> int:
        return psutil.Process().memory_info().rss

    with torch.no_grad():
        for size in (1, 2, 256):
            onnx.log_prob(rows[:size])
        before = resident()
        for size in (60_000, 3, 777, 20_000, 1, 4096):
            onnx.log_prob(rows[:size])
            onnx.inverse(rows[:size])
    one = 60_000 * 256 * 4  # bytes of one hidden layer, were all rows computed at once
    assert resident() - before < one / 2


def test_threads_are_torchs_and_bound_to_no_core_that_this_process_may_not_use(monkeypatch):
    monkeypatch.setattr("flowkd.flows.engine.runtime.WORTH_THREADS", 0.0)
    flow = flowkd.coupling(3, depth=1, width=8, mean=0.0, scale=1.0)
    onnx, x = flowkd.for_inference(flow, "onnx"), torch.randn(4, 3)
    allowed = os.sched_getaffinity(0)
    before = {thread.id for thread in psutil.Process().threads()}
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            onnx.log_prob(x)
            options = onnx.engine._session("log_prob", 4).get_session_options()
            assert options.intra_op_num_threads == threads
            assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        new = {thread.id for thread in psutil.Process().threads()} - before
        assert new
        assert all(os.sched_getaffinity(thread) == allowed for thread in new)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("context", [{}, {"context_size": 2}, {"classes": 3}])
def test_a_short_call_is_one_threads_and_a_long_one_gives_the_same(monkeypatch, context):
    flow = flowkd.coupling(3, depth=1, width=8, mean=0.0, scale=1.0, **context)
    onnx, x = flowkd.for_inference(flow, "onnx"), torch.randn(40, 3)
    given = {"context_size": torch.randn(40, 2), "classes": torch.arange(40) % 3}
    condition = given[next(iter(context))] if context else None

    def threads(count: int) -> int:
        options = onnx.engine._session("log_prob", count).get_session_options()
        return options.intra_op_num_threads

    try:
        torch.set_num_threads(2)
        monkeypatch.setattr("flowkd.flows.engine.runtime.WORTH_THREADS", 1e9)
        short = onnx.log_prob(x, condition)
        assert threads(40) == 1
        onnx.engine._seconds["log_prob"] = 0.001  # of a row
        monkeypatch.setattr("flowkd.flows.engine.runtime.WORTH_THREADS", 0.02)
        assert (threads(19), threads(20)) == (1, 2)
        assert torch.equal(onnx.log_prob(x, condition), short)
    finally:
        torch.set_num_threads(1)
