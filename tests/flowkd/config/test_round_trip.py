"""Every configuration is the same once it was written and read, and cannot be changed."""

import pytest
from pydantic import ValidationError

from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from flowkd.config import dump_config, load_config
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
from flowkd.evaluation.config import EvaluationConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import ArtifactConfig
from flowkd.registry.card import Lineage
from flowkd.registry.publish import PublishConfig
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.train_config import TrainConfig
from tests.support.config_values import TRAINING

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
