"""A context by the name of its category, and remarks on one far outside of the training's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from flowkd.data.facts import DataFacts
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.predictor import Predictor
from flowkd.predict.requests import InvalidRequestError, LogProbRequest, SampleRequest, read_context
from tests.support.small_flows import randomise

TABLE: dict[str, Any] = {"event_shape": (3,), "mean": 0.0, "scale": 1.0, "width": 8}
FACTS = DataFacts(
    context_columns=["energy", "größe"], context_minimum=[0.0, 1.0], context_maximum=[1e6, 3.0]
)


def predictor_of(facts: DataFacts, **context: Any) -> Predictor:
    flow = randomise(build_flow(CouplingConfig(**TABLE, **context)), by=0.1)
    return Predictor(flow.eval().requires_grad_(False), None, facts)


@pytest.fixture(scope="module")
def energies() -> Predictor:
    return predictor_of(FACTS, context_size=2, context_mean=(5e5, 2.0), context_scale=(3e5, 0.5))


@pytest.fixture(scope="module")
def kinds() -> Predictor:
    return predictor_of(DataFacts(class_names=["cat", "dog", "owl"]), classes=3)


@pytest.mark.parametrize(
    ("context", "found"),
    [
        ([0.0, 1.0], ()),
        ([1.5e6, 4.0], ()),  # half of the range beyond either end is near
        ([-5e5, 0.0], ()),
        ([1.6e6, 2.0], ("'energy': 1.6e+06 is far outside of 0 to 1e+06",)),
        ([[0.5, 2.0], [0.5, -0.1]], ("'größe': -0.1 is far outside of 1 to 3, .*1 example",)),
        ([-1e9, 9.0], ("'energy': -1e.09", "'größe': 9 .*2 examples")),
    ],
)
def test_a_context_far_outside_of_the_trainings_is_remarked(energies, context, found):
    drawn = energies.prepare_sample(SampleRequest(n=2, context=context)).remarks
    seen = energies.prepare_log_prob(LogProbRequest(x=[[0.0] * 3] * 2, context=context)).remarks
    assert drawn == seen
    assert len(drawn) == len(found)
    for remark, expected in zip(drawn, found, strict=True):
        with pytest.raises(ValueError, match=expected.replace("+", ".")):
            raise ValueError(remark)


def test_no_range_no_remark():
    blind = predictor_of(DataFacts(), context_size=1, context_mean=0.0, context_scale=1.0)
    assert blind.prepare_sample(SampleRequest(context=[1e6])).remarks == ()


def test_a_context_keeps_the_digits_of_an_offset():
    """Which float32 has not: the flow subtracts it in float64."""
    spec = build_flow(
        CouplingConfig(**TABLE, context_size=1, context_mean=1e9, context_scale=1.0)
    ).context
    given = read_context([[1e9 + 1], [1e9 + 2]], spec, 2)
    assert (given - 1e9).tolist() == [[1.0], [2.0]]


def test_rows_that_are_answered_in_chunks_are_so_for_any_units():
    """A chunk of one row is for flows whose results differ: a context far out must not seem so."""
    chunks = {
        predictor_of(DataFacts(), context_size=1, context_mean=0.0, context_scale=scale).chunk_size
        for scale in (1.0, 1e-39)
    }
    assert chunks == {predictor_of(DataFacts()).chunk_size}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dog", [1, 1]),
        (["owl", "cat"], [2, 0]),
        (["owl", 0], [2, 0]),
        (np.array(["owl", "cat"]), [2, 0]),
        (2, [2, 2]),
    ],
)
def test_a_class_is_given_by_name_or_by_number(kinds, given, expected):
    assert kinds.prepare_sample(SampleRequest(n=2, context=given)).context.tolist() == expected


def test_a_number_is_a_name_where_the_categories_are_numbers():
    """Labels of 3, 7 and 10 have the classes 0, 1 and 2: who asks for 7 means the label."""
    years = predictor_of(DataFacts(class_names=["3", "7", "10"]), classes=3)
    given = years.prepare_sample(SampleRequest(n=3, context=[10, "7", 3])).context
    assert given.tolist() == [2, 1, 0]
    with pytest.raises(InvalidRequestError, match="no class '1'; its classes are: 3, 7, 10"):
        years.prepare_sample(SampleRequest(context=1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bird", "context: this model has no class 'bird'; its classes are: cat, dog, owl"),
        (["cat", "Dog"], "no class 'Dog'; its classes"),
        (["cat", None], "integers or floats"),
        ([["cat", "dog"]], "integers or floats"),
        (3, r"classes 0\.\.2; got 3"),
    ],
)
def test_an_unknown_class_is_answered_with_those_there_are(kinds, given, message):
    with pytest.raises(InvalidRequestError, match=message):
        kinds.prepare_sample(SampleRequest(n=2, context=given))


def test_the_form_for_inference_takes_the_context_as_it_comes(energies):
    context = [[1e5, 1.5], [9e5, 2.5]]
    x = np.zeros((2, 3), np.float32)
    got = energies.log_prob(LogProbRequest(x=x, context=context)).log_prob
    expected = energies.flow.log_prob(torch.from_numpy(x), torch.tensor(context))
    torch.testing.assert_close(got, expected)
