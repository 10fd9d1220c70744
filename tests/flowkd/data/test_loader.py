"""Properties of batches: pure in (seed, step), alike for any number of workers, exact noise."""

import pytest
import torch

from flowkd.data.dequantize import dequantize, evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples


def numbered(count, event=(3, 2, 2)):
    """Examples of which each is recognisable, by its context and by its first pixel."""
    x = torch.randint(0, 256, (count, *event), generator=torch.Generator().manual_seed(0))
    x.flatten(1)[:, 0] = torch.arange(count) % 256
    return Examples(x.to(torch.uint8), torch.arange(count))


def batches(count=50, **options):
    settings = {"batch_size": 8, "seed": 3, "bins": 256, "latents": True}
    return BatchLoader(numbered(count), **{**settings, **options})


def parts(batch):
    return {"x": batch.x, "context": batch.context, "z": batch.z}


def equal(a, b):
    return all(torch.equal(parts(a)[key], parts(b)[key]) for key in parts(a))


def test_a_batch_depends_on_seed_and_step_alone():
    fresh, used = batches(), batches()
    for step in (40, 0, 7, 3):
        used.batch(step)
    for step in (0, 6, 7, 100):
        assert equal(fresh.batch(step), used.batch(step))
        assert not equal(fresh.batch(step), fresh.batch(step + 1))
        other = batches(seed=4).batch(step)
        for key, value in parts(fresh.batch(step)).items():
            assert not torch.equal(value, parts(other)[key]), key


def test_a_resumed_loader_neither_repeats_nor_leaves_out_a_row():
    first, resumed = batches(56), batches(56)  # an epoch is 7 steps
    seen = [first.batch(step) for step in range(9)] + [resumed.batch(s) for s in range(9, 14)]
    for epoch in (seen[:7], seen[7:]):
        rows = torch.cat([batch.context for batch in epoch])
        assert torch.equal(rows.sort().values, torch.arange(56))
    assert all(equal(resumed.batch(step), first.batch(step)) for step in range(14))


@pytest.mark.parametrize("world", [2, 4, 8])
@pytest.mark.parametrize("count", [3, 50])
def test_workers_together_see_the_global_batch(world, count):
    whole = batches(count)
    workers = [batches(count, rank=rank, world=world) for rank in range(world)]
    for step in range(15):
        shares = [parts(worker.batch(step)) for worker in workers]
        for key, expected in parts(whole.batch(step)).items():
            joined = torch.cat([share[key] for share in shares])
            assert torch.equal(joined, expected), (step, key)


@pytest.mark.parametrize(("count", "batch_size"), [(50, 8), (48, 8), (5, 8), (1, 4), (8, 8)])
def test_every_epoch_holds_every_example_once(count, batch_size):
    sequence = batches(count, batch_size=batch_size)
    steps = -(-4 * count // batch_size)
    seen = torch.cat([sequence.batch(step).context for step in range(steps)])
    assert len(seen) == steps * batch_size
    epochs = seen[: 4 * count].view(4, count)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(count).expand(4, count))
    if count > 20:
        assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4


def test_rows_of_x_and_context_stay_together():
    sequence = batches(200, batch_size=64)
    for step in range(8):
        batch = sequence.batch(step)
        assert torch.equal(batch.x.flatten(1)[:, 0].floor().long(), batch.context)


def test_inputs_are_not_mutated():
    examples = numbered(20)
    x, context = examples.x.clone(), examples.context.clone()
    batch = BatchLoader(examples, batch_size=8, seed=0, bins=256).batch(0)
    batch.x.zero_()
    list(evaluation_batches(examples, 256, 3, 0))
    assert torch.equal(examples.x, x)
    assert torch.equal(examples.context, context)
    assert batch.z is None


def test_dequantised_values_stay_in_their_level():
    q = torch.full((2000, 1000), 255, dtype=torch.uint8)
    x = dequantize(q, 256, torch.Generator().manual_seed(1))
    assert x.dtype == torch.float32
    assert torch.equal(x.floor(), q.float())
    u = x.double() - 255
    assert abs(u.mean() - 0.5) < 1e-3
    assert abs(u.var() - 1 / 12) < 1e-3
    assert u.min() < 1e-3
    assert u.max() > 1 - 1e-3


def test_the_noise_of_a_batch_stays_in_its_level():
    rows = Examples(torch.full((512, 2048), 255, dtype=torch.uint8))
    for rank in range(2):
        batch = BatchLoader(rows, batch_size=512, seed=0, bins=256, rank=rank, world=2).batch(0)
        assert torch.equal(batch.x.floor(), torch.full((256, 2048), 255.0))


def test_a_default_dtype_of_float64_changes_nothing():
    expected = batches().batch(1)
    torch.set_default_dtype(torch.float64)
    try:
        found = batches().batch(1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert equal(expected, found)
    assert found.x.dtype == found.z.dtype == torch.float32


def test_latents_are_standard_normal_and_independent_of_the_noise():
    z, u = [], []
    sequence = batches(300, batch_size=256)
    for step in range(40):
        batch = sequence.batch(step)
        z.append(batch.z.flatten())
        u.append((batch.x - batch.x.floor()).flatten())
    z, u = torch.cat(z), torch.cat(u)
    assert batch.z.shape == (256, 12)
    assert abs(z.mean()) < 0.015
    assert abs(z.var() - 1) < 0.02
    assert abs(torch.corrcoef(torch.stack([z, u]))[0, 1]) < 0.015
    assert abs(torch.corrcoef(torch.stack([u[3072:], u[:-3072]]))[0, 1]) < 0.015


def test_continuous_data_pass_unchanged():
    x = torch.randn(30, 4, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    examples = Examples(x, x[:, :2])
    batch = BatchLoader(examples, batch_size=30, seed=0, bins=None).batch(0)
    assert torch.equal(batch.x.sort(dim=0).values, x.sort(dim=0).values)
    assert torch.equal(batch.x[:, :2], batch.context)
    whole = list(evaluation_batches(examples, None, 7, 0))
    assert torch.equal(torch.cat([batch.x for batch in whole]), x)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 100])
def test_evaluation_is_one_pass_whose_noise_does_not_depend_on_batch_size(batch_size):
    examples = numbered(50)
    (whole,) = evaluation_batches(examples, 256, 50, seed=5)
    found = list(evaluation_batches(examples, 256, batch_size, seed=5))
    assert torch.equal(torch.cat([batch.x for batch in found]), whole.x)
    assert torch.equal(torch.cat([batch.context for batch in found]), examples.context)
    assert torch.equal(whole.x.floor(), examples.x.float())
    (other,) = evaluation_batches(examples, 256, 50, seed=6)
    assert not torch.equal(other.x, whole.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 9, "world": 2}, "positive multiple of the 2 workers; got 9"),
        ({"batch_size": 0}, "got 0"),
        ({"rank": 2, "world": 2}, "rank < world; got rank 2, world 2"),
        ({"count": 0}, "at least one example"),
        ({"bins": None}, "expected float32 x .*; got torch.uint8"),
    ],
)
def test_faulty_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_faulty_calls_are_refused():
    with pytest.raises(ValueError, match="at least 0; got -1"):
        batches().batch(-1)
    with pytest.raises(ValueError, match="uint8 x for bins 17; got torch"):
        dequantize(torch.zeros(3, dtype=torch.float32), 17, torch.Generator())
    with pytest.raises(ValueError, match="at least 1; got 0"):
        evaluation_batches(numbered(3), 256, 0, 0)


def test_a_batch_moves_to_a_device():
    assert equal(batches().batch(0).to("cpu"), batches().batch(0))
    assert batches(latents=False).batch(0).to("meta").z is None
    assert batches().batch(0).to("meta").z.device.type == "meta"
