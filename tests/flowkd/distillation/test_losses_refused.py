"""Students, teachers, hints and weights of which no objective is made, and what is said of them."""

import pytest

from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation
from flowkd.distillation.schedules import LossWeights
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig

GLOW = GlowConfig(event_shape=(1, 8, 8), mean=0.0, scale=1.0, levels=2, depth=1, width=4)
WITH_HINTS = LossWeights(hints=1.0)


def hinted(*names, weights=WITH_HINTS, teacher=GLOW, options=None):
    student = build_flow(GLOW)
    hints = [Hint(student=ours, teacher=theirs, **(options or {})) for ours, theirs in names]
    return Distillation(student, build_flow(teacher), hints, weights)


def table(**options):
    return build_flow(CouplingConfig(**{"event_shape": (4,), "mean": 0.0, "scale": 1.0, **options}))


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (
            lambda: hinted(("level9", "level0")),
            [
                "hint level9 <- level0",
                "the student has no tap 'level9'",
                "preprocess, squeeze0, level0",
            ],
        ),
        (
            lambda: hinted(
                ("level1.step0", "level1.step5"), teacher=GLOW.model_copy(update={"depth": 2})
            ),
            ["the teacher has no tap 'level1.step5'", "level1.step0, level1.step1.actnorm"],
        ),
        (
            lambda: hinted(("level0.step0", "level1.step0")),
            [
                "hint level0.step0 <- level1.step0: expected equal shapes",
                "got (4, 4, 4) and (16, 2, 2)",
                "teacher taps of (4, 4, 4) are squeeze0, level0.step0.actnorm, level0.step0.mix",
            ],
        ),
        (
            lambda: hinted(("level0", "level1"), options={"channels": "active"}, teacher=GLOW),
            [
                "hint level0 <- level1: expected equal shapes; got (4, 4, 4) and (16, 2, 2)",
            ],
        ),
        (
            lambda: hinted(("level1.step0", "squeeze1"), options={"channels": "active"}),
            [
                "expected equally many active channels; got 8 and 16",
                "teacher taps of 8 are level1.step0.actnorm, level1.step0.mix",
            ],
        ),
        (
            lambda: hinted(("squeeze0", "squeeze0")),
            [
                "no student parameter precedes 'squeeze0'",
                "valid student taps are level0.step0.actnorm, level0.step0.mix",
            ],
        ),
        (
            lambda: hinted(("preprocess", "preprocess")),
            ["no student parameter precedes 'preprocess'", "are level0.step0.actnorm"],
        ),
        (
            lambda: hinted(*[("level0", "level0")] * 2),
            ["expected each hint once; got a pair twice"],
        ),
        (
            lambda: hinted(),
            ["for them, for log_det or for cycle_hints; got 0 hints, hints: 1.0"],
        ),
        (
            lambda: hinted(("level0", "level0"), weights=LossWeights()),
            ["for them, for log_det or for cycle_hints; got 1 hints, hints: 0.0"],
        ),
        (
            lambda: Distillation(table(), table(event_shape=(5,))),
            ["a student of the teacher's event_shape (5,); got (4,)"],
        ),
        (
            lambda: Distillation(
                build_flow(GLOW), build_flow(GLOW.model_copy(update={"levels": 1}))
            ),
            ["a student of the teacher's latent_shape (4, 4, 4); got (16, 2, 2)"],
        ),
        (
            lambda: Distillation(table(), table(classes=3)),
            ["a student of the teacher's context int64 classes (B,) below 3; got no context"],
        ),
    ],
)
def test_what_could_not_teach_is_refused_at_construction(build, parts):
    with pytest.raises(ValueError) as caught:
        build()
    for part in parts:
        assert part in str(caught.value)


def test_the_lists_of_valid_taps_are_complete():
    learning = [tap for tap, at in build_flow(GLOW).taps.items() if at.parameters]
    with pytest.raises(ValueError, match=f"valid student taps are {', '.join(learning)}$"):
        hinted(("squeeze0", "squeeze0"))
    assert set(build_flow(GLOW).taps) - set(learning) == {"preprocess", "squeeze0"}
    for tap in learning:
        hinted((tap, tap))
