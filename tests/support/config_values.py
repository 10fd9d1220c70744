"""The training whose config file tests of configurations change."""

import yaml

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
