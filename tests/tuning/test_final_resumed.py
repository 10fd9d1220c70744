"""A search that goes on keeps its teacher, and concludes anew where another trial is the best."""

from __future__ import annotations

import pytest

from cluster.storage import StorageConfig
from flowkd.errors import StoreError
from flowkd.registry.aliases import alias_version, set_alias
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.registry.removal import remove_version
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.setup import run_in_process
from tests.support.searches import searching
from tests.support.small_runs import DISTILLATION, TEACHER, furnish, training
from tuning import final
from tuning.config import SearchConfig
from tuning.final import conclude
from tuning.records import Role, SearchRecords, Trial, TrialEnd, TrialStart

STEPS = 30


def trial(number: int, bits: float, rate: float, role: Role | None = None) -> Trial:
    train = {"steps": STEPS, "learning_rate": rate, "warmup_steps": 2, "ema_decay": 0.9}
    run = training(f"search-more-{number:04}", objective=DISTILLATION, train=train)
    start = TrialStart(number, {}, run.model_dump(mode="json"), 100, role=role)
    return Trial(start, TrialEnd("finished", [(STEPS, bits)]))


@pytest.fixture
def trained(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were trained, in this process; no student is refused for the plain one's."""
    furnish(local_store)
    names: list[str] = []

    def here(config: TrainingConfig, storage: StorageConfig) -> str:
        list(run_in_process(config, storage.store()))
        names.append(config.name)
        return f"runs/{config.name}"

    monkeypatch.setattr(final, "run_training", here)
    monkeypatch.setattr(final, "refusal", lambda *_: None)
    return names


def test_a_better_trial_is_trained_compared_and_published(
    local_store: Store, trained: list[str]
) -> None:
    published = {"model": "walks", "throughput_seconds": 0.02, "force": True}
    config = searching("more", train={"steps": STEPS, "warmup_steps": 2}, final=published)
    storage = StorageConfig(uri=local_store.uri)
    trials, records = [trial(0, 3.0, 0.2)], SearchRecords(local_store, "more")
    first = conclude(config, storage, trials, records)
    assert conclude(config, storage, trials, records) == first
    assert len(trained) == 2
    trials.append(trial(1, 2.5, 0.001))
    second = conclude(config, storage, trials, records)
    assert trained[2:] == ["search-more-0001-best", "search-more-0001-plain"]
    assert (second["trial"], second["earlier"]["trial"]) == (1, 0)
    assert second["refused"] is None
    assert second["published"] != first["published"]
    best = load_artifact(local_store, "models/walks@best")
    assert best.pinned == second["published"]
    assert best.manifest.lineage.run == "search-more-0001-best"
    # What was promised by few steps, or chance, is not kept: the better one stays.
    trials.append(trial(2, 2.0, 0.05))
    third = conclude(config, storage, trials, records)
    assert (third["trial"], third["published"], third["earlier"]["trial"]) == (2, None, 1)
    assert f"{second['published']} stays" in third["refused"]
    assert f"models/walks@{alias_version(local_store, 'walks', 'best')}" == second["published"]


@pytest.mark.parametrize(("given", "drawn", "kept"), [(0.05, 0.001, 2), (0.001, 0.05, 0)])
def test_what_is_published_is_no_worse_than_the_default_trained_in_full(
    local_store: Store, trained: list[str], given: float, drawn: float, kept: int
) -> None:
    published = {"model": "walks", "throughput_seconds": 0.02, "force": True}
    config = searching("more", train={"steps": STEPS, "warmup_steps": 2}, final=published)
    storage = StorageConfig(uri=local_store.uri)
    default = trial(0, 3.0, given, role="default")
    records = SearchRecords(local_store, "more")
    outcome = conclude(config, storage, [default, trial(2, 2.5, drawn)], records)
    assert outcome is not None
    assert (outcome["trial"], outcome["kept"]) == (2, kept)
    name = "best" if kept else "default"
    assert trained == [
        "search-more-0002-best", "search-more-0000-default", f"search-more-{kept:04}-plain",
    ]  # fmt: skip
    lineage = load_artifact(local_store, "models/walks@best").manifest.lineage
    assert lineage.run == f"search-more-{kept:04}-{name}"
    assert ("default" in outcome["figures"]) == bool(kept)
    bits = {role: each["bits_per_dim"] for role, each in outcome["figures"].items()}
    gained = outcome["gains"]["plain"]["estimate"]
    assert gained == pytest.approx(bits["plain"] - bits["distilled"])
    if kept:
        gained = outcome["gains"]["default"]["estimate"]
        assert gained == pytest.approx(bits["default"] - bits["distilled"])


@pytest.fixture
def search(taught_store: Store) -> SearchConfig:
    """A search whose teacher is an alias of a model of two versions."""
    list(run_in_process(training("other", flow=TEACHER, seed=1), taught_store))
    for source in ("runs/other", "runs/teacher"):
        publish_run(PublishConfig(model="large", source=source, force=True), taught_store)
    return searching("pinned", teacher="models/large@best")


def test_a_search_keeps_the_teacher_that_it_began_with(
    taught_store: Store, search: SearchConfig
) -> None:
    records = SearchRecords(taught_store, search.name)
    pinned = records.pin(search)
    records.open(search, pinned, resume=False)
    version = pinned.teacher.partition("@")[2]
    other = next(each for each in versions(taught_store, "large") if each != version)
    set_alias(taught_store, "large", "best", other)
    assert records.pin(search) == pinned
    records.check(search, resume=True)  # as it was given, it is the same search
    assert SearchRecords(taught_store, "new").pin(search).teacher == f"models/large@{other}"
    with pytest.raises(StoreError, match=r"is what searches/pinned learns from.*not ended"):
        remove_version(taught_store, "large", version)
    records.write({"stage": "done"}, "status.json")
    remove_version(taught_store, "large", version)
    with pytest.raises(StoreError, match=f"no '{version}' of model 'large'"):
        records.pin(search)
