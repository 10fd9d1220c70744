"""In which precision a flow is judged: what each figure is computed in, and how that is chosen."""

import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.served import Forms
from flowkd.flows.precision import WORTH_IT, FoundPrecision
from tests.support.small_flows import small_batch, small_flow

FLOWS = {"teacher": "runs/teacher"}
QUICK = {"flows": FLOWS, "dataset": "walks", "seconds": 0.01, "quality": None, "rows": 8}


def served(flow, precision, store, chosen=None):
    """A flow as it is served, where something was chosen before, or has to be given."""
    x, context = small_batch(flow, dtype=torch.float32)
    forms, rows = Forms("torch", precision, 4), Examples(x, context)
    if chosen is not None:
        made = FoundPrecision(precision=chosen, milliseconds={}, machine="any", seconds=0)
        place = forms._choices(flow, flow, rows, store).path
        store.write(made.model_dump_json().encode(), *place)
    return forms.of(flow, rows, None, store)


def test_bits_are_in_float32_unless_bf16_is_asked_for_by_its_name(memory_store):
    flow = small_flow("glow", dtype=torch.float32)
    x, _ = small_batch(flow, dtype=torch.float32)
    exact, half = (served(flow, name, memory_store) for name in ("float32", "bf16"))
    assert not memory_store.list("precisions")
    fast, slow = (served(flow, "auto", memory_store, name) for name in ("bf16", "float32"))
    assert [each.precision for each in (exact, half, fast, slow)] == [
        "float32", "bf16", "bf16", "float32",
    ]  # fmt: skip
    bits = [each.judged.log_prob(x) for each in (exact, half, fast, slow)]
    assert torch.equal(bits[0], bits[2])
    assert torch.equal(bits[0], bits[3])
    assert not torch.equal(bits[0], bits[1])
    torch.testing.assert_close(bits[1], bits[0], rtol=0.01, atol=0.5)
    assert flow.precision == "float32"
    # What a coupling makes of what it kept is the same on the way back.
    torch.testing.assert_close(half.flow.inverse(half.flow(x).z), x, rtol=1e-3, atol=1e-2)


def test_auto_is_measured_once_kept_and_told(taught_store):
    said = []
    config = EvaluationConfig(name="e", **QUICK, engine="torch", precision="auto")
    figures = evaluate(config, taught_store, tell=said.append)["teacher"]
    assert said == [f"teacher: {figures.chosen}"]
    assert f"precision {figures.precision}: log_prob of 8 rows takes" in figures.chosen
    again = evaluate(config, taught_store)["teacher"]
    assert "as another run found" in again.chosen
    assert len(taught_store.list("precisions")) == 1
    plain = evaluate(config.model_copy(update={"precision": "float32"}), taught_store)["teacher"]
    assert plain.bits_per_dim == figures.bits_per_dim
    assert plain.chosen is None


def test_what_is_chosen_is_never_slower(memory_store):
    flow = small_flow("coupling", dtype=torch.float32)
    made = served(flow, "auto", memory_store)
    times = made.found.milliseconds
    wins = times["bf16"] <= WORTH_IT * times["float32"]
    assert made.precision == made.found.precision == ("bf16" if wins else "float32")


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_an_engine_without_it_is_refused(precision):
    with pytest.raises(ValueError, match=f"float32 with engine: onnx, .*; got {precision}: set"):
        EvaluationConfig(name="e", **QUICK, engine="onnx", precision=precision)
