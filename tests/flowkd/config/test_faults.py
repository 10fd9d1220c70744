"""Properties of configurations: every fault is named by its path, in a line of its own."""

import pytest
import yaml

from flowkd.config import load_config, parse_config
from flowkd.errors import ConfigError
from flowkd.training.config import TrainingConfig
from tests.support.config_values import TRAINING, changed, without


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            changed("naem", to=1),
            r": naem: unknown key; did you mean name\? expected one of name, dataset,",
        ),
        (changed("train", "stepps", to=1), r": train\.stepps: unknown key; did you mean steps\?"),
        (changed("flow", "widht", to=1), r": flow\.widht: unknown key"),
        (changed("objective", "weights", "skd", to=1), r": objective\.weights\.skd: unknown key"),
        (changed("objective", "hints", 1, "x", to=1), r": objective\.hints\.1\.x: unknown key"),
        (without("dataset"), r": dataset: missing; add it"),
        (without("objective", "hints", 0, "teacher"), r": objective\.hints\.0\.teacher: missing"),
        (
            without("flow", "kind"),
            r": flow: expected a `kind`, one of glow, autoregressive, converted, coupling; "
            r"got none",
        ),
        (
            changed("flow", "kind", to="tarflow"),
            r": flow: expected one of glow, autoregressive, converted, coupling as its `kind`; "
            r"got 'tarflow'",
        ),
        (changed("batch_size", to="many"), r": batch_size: .*valid integer.*; got 'many'"),
        (changed("train", "steps", to=2.5), r": train\.steps: .*valid integer.*; got 2\.5"),
        (
            changed("train", "learning_rate", to=0),
            r": train\.learning_rate: .*greater than 0, or .*'find'; got 0",
        ),
        (
            changed("train", "max_gradient_norm", to=float("inf")),
            r": train\.max_gradient_norm: .*finite number; got inf",
        ),
        (changed("flow", "mix", to="lu"), r": flow\.mix: .*'linear' or 'reverse'; got 'lu'"),
        (changed("name", to="a/b"), r": name: expected letters, digits, .*; got 'a/b'"),
        ([1, 2], r"expected a mapping in .*config\.yaml; got list"),
        ("", r"expected a mapping in .*config\.yaml; got NoneType"),
        ("a: [1", r"config\.yaml is not YAML"),
    ],
)
def test_a_fault_is_named_by_its_full_path(file, values, message):
    with pytest.raises(ConfigError, match=message):
        load_config(TrainingConfig, file(values))


def test_every_fault_is_named_at_once(file):
    values = {**without("dataset"), "more": 1, "batch_size": 0}
    with pytest.raises(ConfigError) as caught:
        load_config(TrainingConfig, file(values))
    first, *faults = str(caught.value).splitlines()
    assert first.endswith("config.yaml is not a valid TrainingConfig:")
    assert sorted(fault.split(":")[0].strip() for fault in faults) == [
        "batch_size",
        "dataset",
        "more",
    ]


def test_messages_hold_no_address_no_manual_and_no_long_value(file):
    for values in ({**TRAINING, "seed": object()}, {**TRAINING, "seed": "x" * 10000}):
        with pytest.raises(ConfigError) as caught:
            parse_config(TrainingConfig, values, source="here")
        said = str(caught.value)
        assert " at 0x" not in said
        assert "pydantic" not in said
        assert len(said) < 300


def test_of_many_faults_the_first_are_told_and_how_many_more_there_are(file):
    many = {**TRAINING, "flow": {"kind": "coupling", "event_shape": ["a"] * 500}}
    for values, more in ((many, 490), ({**TRAINING, "k" * 5000: 1, "j" * 5000: 2}, None)):
        with pytest.raises(ConfigError) as caught:
            load_config(TrainingConfig, file(values))
        said = str(caught.value)
        assert len(said) < 2000
        assert (f"\n  ... and {more} more faults" in said) == (more is not None)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("seed",),
            2**64,
            r"seed: expected a whole number within 64 bits; got 1844674407",
        ),
        pytest.param(
            ("train", "steps"),
            10**5000,
            r"train\.steps: expected a whole number .*; got a whole number of 16610 bits",
            id="of thousands of digits",
        ),
        (("flow", "event_shape"), [2, 2**63], r"flow\.event_shape\.1: expected a whole number"),
    ],
)
def test_whole_numbers_that_no_tensor_takes_are_refused(keys, value, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(TrainingConfig, changed(*keys, to=value), source="here")


def test_a_number_may_be_large_where_it_need_not_be_whole(file):
    config = load_config(TrainingConfig, file(changed("flow", "scale", to=10**30)))
    assert config.flow.scale == 1e30


def test_unknown_keys_are_answered_with_those_of_their_place(file):
    """In models, in members of unions, in mappings and in lists."""
    for keys, valid in (
        (("objective", "weights", "skd"), "expected one of nll, samples,"),
        (("objective", "hints", 1, "teachr"), "did you mean teacher? expected one of student,"),
        (("scaling", "worker"), "did you mean workers? expected one of workers, min_workers"),
    ):
        values = {**TRAINING, "scaling": {}}
        values = yaml.safe_load(yaml.safe_dump(values))
        node = values
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = 1
        with pytest.raises(ConfigError) as caught:
            load_config(TrainingConfig, file(values))
        assert valid in str(caught.value)
