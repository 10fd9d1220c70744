"""What a config file says is taken exactly, or refused with its line."""

import pytest

from flowkd.config import load_config, read_values
from flowkd.errors import ConfigError
from flowkd.training.config import TrainingConfig
from tests.support.config_values import TRAINING, changed


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no config file '.*nothing\.yaml'"):
        load_config(TrainingConfig, tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot read config file"):
        load_config(TrainingConfig, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not YAML"):
        load_config(TrainingConfig, tmp_path / "binary.yaml")


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
