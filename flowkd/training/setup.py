"""What a run's config refers to, looked up and checked: data set, teacher, source of a start."""

from __future__ import annotations

from flowkd.data.batch import Batch
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.data.reading import StoredRows, load_split
from flowkd.distill.losses import Distillation, MaximumLikelihood
from flowkd.distill.warmstart import check_warm_start, warm_start
from flowkd.errors import ConfigError
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.store.store import Store
from flowkd.training.config import (
    NO_DATA,
    DistillationConfig,
    MaximumLikelihoodConfig,
    TrainingConfig,
    complete_flow,
    complete_like,
)
from flowkd.training.inputs import WARM_START_ROWS, Data
from flowkd.training.shared import Shared


class References:
    """What a config refers to, in a store.

    Args:
        config: Of a run.
        store: Where all of it lies.
        shared: What a run like this one has read of it already.

    Attributes:
        teacher: None for a run that learns from data alone.
        source: What the student begins from; None if it begins at random.
        bins: The number of integer values of the data; None if they are continuous.
        flow_config: Of what is trained, complete.

    Raises:
        ConfigError: The flow contradicts its data set, or cannot begin from its source, for which
            there may be too few rows.
        DataError: No such data set.
        StoreError: No such teacher.
    """

    def __init__(self, config: TrainingConfig, store: Store, shared: Shared | None = None) -> None:
        self.config = config
        self.store = store
        self.shared = shared
        self.settings = config.objective
        self.teacher = self._teacher()
        self.manifest = self._manifest()
        self.bins: int | None
        if self.manifest is not None:
            self.bins = self.manifest.bins
            self.flow_config = complete_flow(config.flow, self.manifest)
        else:
            assert self.teacher is not None
            self.bins = self.teacher.manifest.lineage.bins
            self.flow_config = complete_like(config.flow, self.teacher.config.flow)
        self.source = self._source()

    def _teacher(self) -> Artifact | None:
        if not isinstance(self.settings, DistillationConfig):
            return None
        if self.shared is not None:
            return self.shared.teacher
        return load_artifact(self.store, self.settings.teacher)

    def _manifest(self) -> Manifest | None:
        if self.shared is not None:
            return self.shared.manifest
        return (
            None
            if self.config.dataset == NO_DATA
            else read_manifest(self.store, self.config.dataset)
        )

    def data(self) -> Data | None:
        """Returns the rows of the data set, if there is one; those to train on are not read yet."""
        if self.manifest is None:
            return None
        if self.shared is not None:
            return Data(self.shared.train, self.shared.validation, self.bins)
        train = StoredRows(self.store, self.manifest, "train", limit=self.config.train_rows)
        judged = load_split(self.store, self.manifest, "val", limit=self.config.validation_rows)
        data = Data(train, judged, self.bins)
        return data if self.flow_config.context.width else data.without_context()

    def begin(self, flow: Flow, calibration: Batch) -> None:
        """Sets a flow's parameters as its warm start says, if it has one."""
        if self.source is None or not isinstance(self.settings, DistillationConfig):
            return
        kind = self.settings.warm_start
        assert kind != "none"
        x, context = calibration.x, calibration.context
        source = self.source.flow.to(x.device)
        warm_start(kind, flow, self.flow_config, source, self.source.config.flow, x, context)

    def _source(self) -> Artifact | None:
        settings = self.settings
        if not isinstance(settings, DistillationConfig) or settings.warm_start == "none":
            return None
        source = self.teacher
        if settings.warm_from is not None:
            source = load_artifact(self.store, settings.warm_from)
        assert source is not None
        try:
            check_warm_start(
                settings.warm_start, self.flow_config, source.config.flow, self._rows(settings)
            )
        except ValueError as error:
            raise ConfigError(f"run {self.config.name!r}: warm_start: {error}") from error
        return source

    def _rows(self, settings: DistillationConfig) -> int:
        """Returns how many different rows there are to calibrate a warm start on."""
        if self.manifest is None:
            return settings.samples.rows or WARM_START_ROWS
        known = self.manifest.splits["train"].rows
        return min(known, self.config.train_rows or known)

    def objective(self, flow: Flow) -> MaximumLikelihood | Distillation:
        """Returns what the flow is trained to do."""
        settings = self.settings
        if isinstance(settings, MaximumLikelihoodConfig) or self.teacher is None:
            return MaximumLikelihood(flow)
        try:
            return Distillation(
                flow, self.teacher.flow, settings.hints, settings.weights, settings.temperature
            )
        except ValueError as error:
            raise ConfigError(f"run {self.config.name!r}: objective: {error}") from error
