"""Properties of what a student learns from: teacher samples, cached targets, both with data."""

import math

import pytest
import torch

from flowkd.data.batch import Batch
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples
from flowkd.distillation.cache import CacheConfig, cache_targets, check_cache
from flowkd.distillation.targets import compute_targets
from flowkd.distillation.teacher_samples import (
    ATTEMPTS,
    FreshSamples,
    MixedLoader,
    bounds_of,
    contexts_like,
    draw_samples,
)
from flowkd.errors import ConfigError, NonFiniteError
from tests.support.small_flows import small_batch, small_flow, with_infinite_samples


def teacher_of(name):
    return small_flow(name, dtype=torch.float32)


@torch.no_grad()
def test_drawn_samples_are_the_teachers_and_reproducible():
    teacher = teacher_of("coupling")
    drawn, dropped = draw_samples(teacher, 1200, temperature=1.0, seed=3)
    again, _ = draw_samples(teacher, 1200, temperature=1.0, seed=3)
    other, _ = draw_samples(teacher, 1200, temperature=1.0, seed=4)
    assert (len(drawn), dropped) == (1200, 0)
    assert torch.equal(drawn.x, again.x)
    assert not torch.equal(drawn.x, other.x)
    z = teacher(drawn.x).z
    assert z.mean().abs() < 0.05
    assert z.std().item() == pytest.approx(1, abs=0.05)
    cold, _ = draw_samples(teacher, 1200, temperature=0.5, seed=3)
    assert teacher(cold.x).z.std().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["coupling", "coupling of classes"])
def test_samples_that_are_not_finite_are_dropped_and_counted(name):
    teacher = with_infinite_samples(teacher_of(name), above=1.0)
    contexts = contexts_like(teacher, None)
    drawn, dropped = draw_samples(teacher, 1500, temperature=1.0, seed=0, contexts=contexts)
    assert drawn.x.isfinite().all()
    assert len(drawn) + dropped == 1500
    assert dropped == pytest.approx(0.159 * 1500, rel=0.2)
    assert contexts is None or len(drawn.context) == len(drawn)
    fresh = FreshSamples(teacher, batch_size=300, temperature=1.0, seed=0, contexts=contexts)
    batches = [fresh.batch(step) for step in range(4)]
    assert all(len(batch) == 300 and batch.x.isfinite().all() for batch in batches)
    assert contexts is None or all(len(batch.context) == 300 for batch in batches)
    # Of all that were drawn, 0.159 are bad, and 1200 are left.
    taken = fresh.take_dropped()
    assert taken == pytest.approx(1200 * 0.159 / (1 - 0.159), rel=0.2)
    assert fresh.take_dropped() == 0


def test_samples_far_outside_of_the_data_are_dropped_and_counted():
    teacher = teacher_of("coupling")
    every, _ = draw_samples(teacher, 1500, temperature=1.0, seed=0)
    middle, half = every.x.mean(0), every.x.std(0)
    data = Examples(torch.stack([middle - half / 2, middle + half / 2]))
    bounds = bounds_of(data, None, 4.0)
    drawn, dropped = draw_samples(teacher, 1500, temperature=1.0, seed=0, bounds=bounds)
    inside = ((every.x - middle).abs() <= 2 * half).all(1)
    assert torch.equal(drawn.x, every.x[inside])
    assert dropped == int((~inside).sum()) > 0
    fresh = FreshSamples(teacher, batch_size=300, temperature=1.0, seed=0, bounds=bounds)
    assert bounds.hold(fresh.batch(0).x).all()
    assert fresh.take_dropped() > 0


def test_the_bounds_of_integers_are_those_of_their_bins_with_and_without_data():
    data = Examples(torch.full((2, 3), 7, dtype=torch.uint8))
    for examples in (data, None):
        bounds = bounds_of(examples, 16, 2.0)
        assert (bounds.low.item(), bounds.high.item()) == (-8, 24)
    assert bounds_of(None, None, 2.0) is None
    assert bounds_of(data, 16, None) is None


def test_a_teacher_without_a_finite_sample_is_refused():
    teacher = with_infinite_samples(teacher_of("coupling"), above=-100.0)
    with pytest.raises(NonFiniteError, match=r"none of 500 samples .* lower samples.temperature"):
        draw_samples(teacher, 600, temperature=1.0, seed=0)
    with pytest.raises(NonFiniteError, match=r"none of 100 samples .* lower samples.temperature"):
        FreshSamples(teacher, batch_size=3, temperature=1.0, seed=0).batch(0)


def test_a_sample_that_only_the_last_try_finds_is_taken():
    teacher = teacher_of("coupling")
    inverse, calls = teacher.inverse, []

    def at_last(z, context=None):
        calls.append(len(z))
        x = inverse(z, context)
        if len(calls) < ATTEMPTS:
            x[0] = math.inf
        return x

    teacher.inverse = at_last
    fresh = FreshSamples(teacher, batch_size=3, temperature=1.0, seed=0)
    assert fresh.batch(0).x.isfinite().all()
    assert calls == [3, *[1] * (ATTEMPTS - 1)]
    assert fresh.take_dropped() == ATTEMPTS - 1


def test_contexts_come_from_the_data_or_from_the_classes():
    generator = torch.Generator().manual_seed(0)
    by_class = teacher_of("coupling of classes")
    assert set(contexts_like(by_class, None)(100, generator).tolist()) == {0, 1, 2}
    data = Examples(torch.zeros(3, 3), torch.tensor([1, 1, 2]))
    assert set(contexts_like(by_class, data)(100, generator).tolist()) == {1, 2}
    by_vector = teacher_of("coupling of a vector")
    known = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    drawn = contexts_like(by_vector, Examples(torch.zeros(2, 4), known))(50, generator)
    assert {tuple(row) for row in drawn.tolist()} == {(1.0, 2.0), (3.0, 4.0)}
    with pytest.raises(ConfigError, match="data to take the teacher's context from"):
        contexts_like(by_vector, None)
    assert contexts_like(teacher_of("coupling"), data) is None


@pytest.mark.parametrize("name", ["coupling", "coupling of classes", "glow of classes"])
@pytest.mark.parametrize("drops", [False, True])
def test_fresh_samples_are_a_pure_function_of_the_step_shared_by_workers(name, drops):
    teacher = teacher_of(name)
    if drops:
        with_infinite_samples(teacher, above=0.5)

    def fresh(**options):
        contexts = contexts_like(teacher, None)
        return FreshSamples(
            teacher, batch_size=6, temperature=1.0, seed=1, contexts=contexts, **options
        )

    whole = fresh().batch(5)
    fresh().batch(0)
    parts = [fresh(rank=rank, world=2).batch(5) for rank in (0, 1)]
    assert [len(part) for part in parts] == [3, 3]
    together = torch.cat([part.x for part in parts])
    torch.testing.assert_close(together, whole.x, rtol=1e-5, atol=1e-3)
    assert not torch.equal(fresh().batch(6).x, whole.x)
    if whole.context is not None:
        assert torch.equal(torch.cat([part.context for part in parts]), whole.context)


def test_a_lesson_is_data_followed_by_samples():
    data = BatchLoader(Examples(torch.randn(10, 4)), batch_size=4, seed=0, bins=None, latents=True)
    drawn = BatchLoader(Examples(torch.randn(9, 4)), batch_size=3, seed=1, bins=None)
    batch = MixedLoader(data, drawn).batch(2)
    assert torch.equal(batch.x, torch.cat([data.batch(2).x, drawn.batch(2).x]))
    assert (len(batch), batch.samples, len(batch.z)) == (7, 3, 4)
    alone = MixedLoader(None, drawn).batch(2)
    assert torch.equal(alone.x, drawn.batch(2).x)
    assert alone.samples == len(alone) == 3


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("name", ["glow of classes", "coupling"])
def test_cached_answers_are_the_teachers_row_by_row(name, kind):
    teacher = teacher_of(name)
    x, context = small_batch(teacher, rows=700, dtype=torch.float32)
    taps = list(teacher.taps)[1:4]
    parts = evaluation_batches(Examples(x, context), None, 300, seed=0)
    known = cache_targets(teacher, parts, 700, taps, kind)
    batch = BatchLoader(known, batch_size=16, seed=0, bins=None).batch(3)
    expected = compute_targets(teacher, batch.x, batch.context, taps)
    assert set(batch.targets) == set(expected)
    assert {f"h:{tap}" for tap in taps} < set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(batch.targets[key], value, rtol=1e-4, atol=1e-4)


def test_both_halves_of_a_lesson_carry_their_answers():
    teacher = teacher_of("coupling")
    halves = []
    for seed, size in ((0, 4), (1, 3)):
        x, _ = small_batch(teacher, rows=20, dtype=torch.float32, seed=seed)
        rows = cache_targets(teacher, [Batch(x)], 20, [], "memory")
        halves.append(BatchLoader(rows, batch_size=size, seed=0, bins=None))
    batch = MixedLoader(*halves).batch(0)
    torch.testing.assert_close(batch.targets["log_prob"], teacher.log_prob(batch.x).detach())


def test_a_cache_beyond_its_limit_is_refused():
    teacher = teacher_of("coupling")
    cache = CacheConfig(kind="memory", limit_gib=0.05)
    # 10^6 rows of x, z and log_prob and one hint with its log_det: 17 floats.
    with pytest.raises(ConfigError, match=r"limit_gib = 0.05; got 0.06 GiB .* 1 hints: lower cop"):
        check_cache(cache, teacher, 10**6, ["step0"])
    check_cache(cache, teacher, 10**5, ["step0"])
