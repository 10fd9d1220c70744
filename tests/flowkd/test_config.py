"""Properties of configurations: every fault is named by its path, nothing is lost on the way."""

import pytest
import yaml
from pydantic import ValidationError

from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from flowkd.config import dump_config, load_config, parse_config, read_values
from flowkd.data.importers.celeba import CelebaConfig
from flowkd.data.importers.cifar import CifarConfig
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.imagenet32 import Imagenet32Config
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.importers.table import TableConfig
from flowkd.distillation.hints import Hint
from flowkd.distillation.objective import DistillationConfig, MaximumLikelihoodConfig
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import ConfigError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import ArtifactConfig
from flowkd.registry.card import Lineage
from flowkd.registry.publish import PublishConfig
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.train_config import TrainConfig

TRAINING = {
    "name": "one",
    "dataset": "walks",
    "flow": {"kind": "coupling", "width": 8},
    "objective": {
        "kind": "distillation",
        "teacher": "runs/teacher",
        "hints": [
            {"student": "step0", "teacher": "step1"},
            {"student": "step1", "teacher": "step2"},
        ],
        "weights": {"hints": 0.1},
    },
    "train": {"steps": 3, "learning_rate": 0.01},
}


@pytest.fixture
def file(tmp_path):
    """Writes values as YAML and returns the path."""

    def write(values):
        path = tmp_path / "config.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
        return path

    return write


def changed(*keys, to):
    """TRAINING with the value at a path replaced."""
    values = yaml.safe_load(yaml.safe_dump(TRAINING))
    node = values
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = to
    return values


def without(*keys):
    values = changed(*keys, to=None)
    node = values
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return values


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


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no config file '.*nothing\.yaml'"):
        load_config(TrainingConfig, tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot read config file"):
        load_config(TrainingConfig, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not YAML"):
        load_config(TrainingConfig, tmp_path / "binary.yaml")


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


WHOLE = [
    TrainingConfig(**TRAINING),
    TrainingConfig(name="a", dataset="b", flow={"kind": "glow"}, train={"steps": 1}),
    TrainConfig(steps=1, learning_rate=1e-7),
    GlowConfig(),
    GlowConfig(event_shape=(3, 8, 8), mean=128.0, scale=256.0, classes=2),
    CouplingConfig(),
    CouplingConfig(event_shape=(2,), mean=(0.1, 1e-9), scale=(1e20, 3.0)),
    MaximumLikelihoodConfig(),
    DistillationConfig(teacher="runs/a"),
    LossWeights(),
    Hint(student="a", teacher="b"),
    ScalingConfig(),
    EvaluationConfig(name="a", flows={"b": "runs/c"}, dataset="d"),
    PublishConfig(model="a", source="runs/b"),
    ArtifactConfig(flow=GlowConfig(), training=TRAINING),
    Lineage(),
    ServingConfig(models={"a": "models/a@best"}),
    StorageConfig(uri="s3://bucket/prefix", options={"endpoint_url": "http://127.0.0.1:1"}),
    PhotosConfig(),
    DigitsConfig(),
    ImagesConfig(name="a", source="b", crop=8),
    CifarConfig(source="b"),
    Imagenet32Config(source="b", test_source="c", val_rows=7),
    CelebaConfig(source="b", partition="c", size=32),
    TableConfig(name="a", source="b.csv"),
]


@pytest.mark.parametrize("config", WHOLE, ids=lambda config: type(config).__name__)
def test_what_is_dumped_is_loaded_again(file, config):
    assert load_config(type(config), file(dump_config(config))) == config
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, next(iter(type(config).model_fields)), None)


TEXT = """\
name: one
dataset: walks
flow: {kind: coupling, widht: 8}
train:
  steps: many
  learning_rate: 0.01
"""


def test_each_fault_tells_its_line_and_a_key_that_was_set_tells_none(file):
    with pytest.raises(ConfigError) as caught:
        load_config(TrainingConfig, file(TEXT), ["batch_size=x", "train.learning_rate=-1"])
    faults = {text.split(":")[0].strip(): text for text in str(caught.value).splitlines()[1:]}
    assert faults["flow.widht"].endswith("(line 3)")
    assert faults["train.steps"].endswith("got 'many' (line 5)")
    assert faults["batch_size"].endswith("got 'x'")
    # The key's own line is gone with its value; that of its mapping is still the file's.
    assert faults["train.learning_rate"].endswith("got -1 (line 4)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' is there twice, in lines 1 and 3: remove one"),
        ("a:\n  b: 1\n  b: 1\n", "key 'b' is there twice, in lines 2 and 3"),
        ("a: [{b: 1, b: 2}]\n", "key 'b' is there twice, in lines 1 and 1"),
        ("1: a\n1.0: b\n", "is there twice, in lines 1 and 2"),
        ("[a, b]: 1\n", "line 1: expected a word as a key"),
        ("a: 1\nb: [1\n", "is not YAML, line 3, column 1: "),
        ("a: 2024-02-31\n", "is not YAML: day is out of range"),
        ("a: " + "[" * 5000, "is not YAML: it is nested too deeply"),
    ],
)
def test_what_yaml_would_take_in_silence_or_explain_in_riddles_is_one_line(file, text, message):
    with pytest.raises(ConfigError) as caught:
        read_values(file(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_merged_key_may_be_replaced(file):
    values = read_values(file("base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\n"))
    assert values["mine"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(("text", "steps"), [("4e4", 40000), ("1.0e+5", 100000), ("2E2", 200)])
def test_a_whole_number_may_have_an_exponent(file, text, steps):
    config = load_config(TrainingConfig, file(TEXT.replace("many", text).replace("widht", "width")))
    assert config.train.steps == steps
    overridden = load_config(TrainingConfig, file(TRAINING), [f"train.steps={text}"])
    assert overridden.train.steps == steps


@pytest.mark.parametrize("value", ["4e-1", "1e400", "nan", "4e4x", True, "yes please"])
def test_what_is_not_exactly_a_whole_number_is_none(file, value):
    with pytest.raises(ConfigError, match=r"train\.steps: "):
        load_config(TrainingConfig, file(changed("train", "steps", to=value)))


def test_a_name_that_reads_as_a_number_stays_a_name(file):
    assert load_config(TrainingConfig, file(changed("name", to="4e4"))).name == "4e4"
    with pytest.raises(ConfigError, match=r"name: expected text, in quotes .*; got 7"):
        load_config(TrainingConfig, file(changed("name", to=7)))


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
