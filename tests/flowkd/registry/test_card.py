"""What a model card warns of."""

from __future__ import annotations

import pytest

from flowkd.data.facts import DataFacts
from flowkd.flows.build import build_flow
from flowkd.registry.card import Lineage, model_card
from flowkd.store.store import Store
from tests.support.small_flows import CONFIGS


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"train": 20, "val": 2, "test": 30}, "**Few independent groups of rows: 2 in val.**"),
        ({"train": 5, "val": 2, "test": 2}, "groups of rows: 2 in val and 2 in test.**"),
        ({"train": 5, "val": 30, "test": 30}, None),
        (None, None),
    ],
)
def test_few_groups_are_told(groups: dict[str, int] | None, told: str | None) -> None:
    flow = build_flow(CONFIGS["coupling"])
    card = model_card("models/a/1", flow, {}, Lineage(dataset="mine", groups=groups), DataFacts())
    assert ("independent groups" in card) == (told is not None)
    assert told is None or told in card


def test_a_run_knows_the_groups_of_its_data(taught_store: Store) -> None:
    found = taught_store.read_json("runs", "teacher", "result", "manifest.json")["lineage"][
        "groups"
    ]
    assert found == {"train": 40, "val": 40, "test": 40}


def test_a_card_is_words_and_figures_that_are_worth_their_digits() -> None:
    config = CONFIGS["coupling"]
    tested = {"bits_per_dim": 3.107123456, "standard_error": 0.0971, "by": [1, 2], "rows": 9664}
    metrics = {"validation_bits_per_dim": 3.0123456, "steps": 20000, "test": tested}
    card = model_card("models/a/1", build_flow(config), metrics, Lineage(), DataFacts())
    rows = [line for line in card.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| validation bits per dim | 3.012 |",
        "| steps | 20,000 |",
        "| test bits per dim | 3.107 ± 0.097 |",
        "| test by | 1, 2 |",
        "| test rows | 9,664 |",
    ]
    assert not set("{}[]'") & set(card)
    assert "(" not in card.split("Load it")[0]
