"""Keys that are set beside a config file replace what it says, or are refused."""

import pytest

from flowkd.config import load_config
from flowkd.distillation.hints import Hint
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import ConfigError
from flowkd.flows.coupling import CouplingConfig
from flowkd.training.config import TrainingConfig
from tests.support.config_values import TRAINING


def test_overrides_replace_what_the_file_says(file):
    overrides = [
        "name=two",
        "train.steps=7",
        "train.learning_rate=1e-4",
        "train.warmup_steps=1",
        "train_rows=null",
        "scaling.workers=2",
        "flow.mean=[1, 2.5]",
        "objective.hints.1.teacher=step4",
        "objective.hints.0={student: step9, teacher: step8}",
        "objective.weights.latent=.5",
    ]
    path = file({**TRAINING, "train_rows": 5})
    config = load_config(TrainingConfig, path, overrides)
    assert (config.name, config.train_rows, config.scaling.workers) == ("two", None, 2)
    assert (config.train.steps, config.train.learning_rate, config.train.warmup_steps) == (
        7,
        1e-4,
        1,
    )
    assert config.flow == CouplingConfig(width=8, mean=(1.0, 2.5))
    step9, step1 = Hint(student="step9", teacher="step8"), Hint(student="step1", teacher="step4")
    assert config.objective.hints == (step9, step1)
    assert config.objective.weights == LossWeights(hints=0.1, latent=0.5)
    assert load_config(TrainingConfig, path).train.steps == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", "expected --set key.path=value; got 'train.steps'"),
        ("=3", "expected --set key.path=value; got '=3'"),
        ("train.stepps=3", r"train\.stepps: unknown key"),
        ("trian.steps=3", r"trian: unknown key"),
        ("name.x=3", "--set name.x: name holds 'one', not a mapping"),
        ("objective.hints.2.student=a", "expected a position below 2; got '2'"),
        ("objective.hints.first=a", "expected a position below 2; got 'first'"),
        (
            "objective.hints.0.student.x=a",
            r"objective\.hints\.0\.student holds 'step0', not a mapping",
        ),
        ("train.steps=[1", r"--set train\.steps: '\[1' is not YAML"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(TrainingConfig, file(TRAINING), [override])
