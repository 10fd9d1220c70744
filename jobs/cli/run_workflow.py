"""A workflow in the foreground: each stage that the store does not have yet, then the report."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.local import recorded
from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from cluster.train.commit import git_commit
from flowkd.data.groups import describe_rows, groups_of
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.errors import RefusedError
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.tracked import track_comparison
from flowkd.registry.aliases import alias_version, set_alias
from flowkd.registry.imported import ImportConfig, import_model, imported_before
from flowkd.registry.publish import PublishConfig, best_of, publish_run
from flowkd.report.comparison import gap_share, has_roles
from flowkd.report.config import ReportConfig
from flowkd.report.from_store import comparison_report, read_comparison
from flowkd.report.page import render
from flowkd.training.config import TrainingConfig
from jobs.cli.interrupted import says_if_interrupted
from jobs.cli.progress import console, stage, train_with_progress, working
from jobs.cli.sink import is_quiet
from jobs.cli.tables import figures_table
from jobs.importing import import_dataset
from jobs.workflow.config import WorkflowConfig, stages
from jobs.workflow.known import known_figures, known_version
from jobs.workflow.served import ASKED, ask, serve_models

TITLES = {
    "data": "Data", "evaluate": "Comparison", "publish": "Publishing", "deploy": "Serving",
}  # fmt: skip


def run_workflow(config: WorkflowConfig, storage: StorageConfig) -> None:
    """Do all that a workflow's file asks for; what is there already is not done again."""
    console.quiet = is_quiet()
    progress = _Progress(config, storage)
    found = stages(config)
    for number, (name, (kind, settings)) in enumerate(found.items(), start=1):
        stage(f"{number}/{len(found)} {TITLES.get(name, name.capitalize())}")
        kept = ", ".join(list(found)[: number - 1]) or "nothing yet"
        with says_if_interrupted(f"done and kept: {kept}; the same command goes on with {name}"):
            progress.do(kind, settings)


@dataclass
class _Progress:
    """What is known of a workflow while its stages are done.

    Attributes:
        config: The workflow.
        storage: Where all of it is kept.
        began: When, by the monotonic clock.
        figures: Of the comparison.
        better: Role of the student that is published.
        version: Name of its version.
        endpoint: URL of the service.
        refused: Why the student is not published, and so not served; the report is made first.
    """

    config: WorkflowConfig
    storage: StorageConfig
    began: float = field(default_factory=time.monotonic)
    figures: dict[str, FlowFigures] = field(default_factory=dict)
    better: str = ""
    version: str = ""
    endpoint: str | None = None
    refused: RefusedError | None = None

    @property
    def url(self) -> str | None:
        """URL of the served student."""
        return None if self.endpoint is None else f"{self.endpoint}/v1/models/{self.config.served}"

    @property
    def model(self) -> str | None:
        """Reference of the published student; None where none is."""
        return f"models/{self.config.served}@{self.version}" if self.version else None

    def do(self, kind: str, settings: Any) -> None:
        """Does a stage, unless the store has what it makes."""
        stages_of: dict[str, Callable[[Any], None]] = {
            "prepare": self._import,
            "import_model": self._take_over,
            "train_teacher": self._train,
            "distill": self._train,
            "evaluate": self._evaluate,
            "publish": self._publish,
            "deploy": self._deploy,
            "report": self._report,
        }
        stages_of[kind](settings)

    def _import(self, settings: PrepareConfig) -> None:
        with working("preparing the data set"):
            manifest = import_dataset(settings.root, self.storage.store())
        rows = ", ".join(
            f"{name} {describe_rows(split.rows, groups_of(split))}"
            for name, split in manifest.splits.items()
        )
        console.print(f"  data set {manifest.name}: {manifest.event_shape}, {rows}")
        for left in manifest.left_out:
            names = f": {', '.join(left.names)}" if left.names else ""
            console.print(f"  left out: {left.count:,} {left.what} {left.why}{names}")
        for remark in manifest.remarks:
            console.print(f"  remark: {remark}")

    def _take_over(self, settings: ImportConfig) -> None:
        store = self.storage.store()
        known = imported_before(settings, store)
        if known is not None:
            console.print(f"  models/{settings.model}@{known}, taken over before")
            return
        found = import_model(settings, store)
        console.print(
            f"  models/{settings.model}@{found.version} is {found.origin}, of equal log_prob"
        )

    def _train(self, settings: TrainingConfig) -> None:
        train_with_progress(_placed(settings), self.storage)

    def _evaluate(self, settings: EvaluationConfig) -> None:
        store = self.storage.store()
        known = known_figures(settings, store)
        if known is not None:
            console.print("  compared before")
            self.figures = known
            return
        with working(f"likelihood and throughput on the {settings.split} split"):
            self.figures = evaluate(settings, store, tell=lambda said: console.print(f"  {said}"))
        track_comparison(settings, self.figures, store, lambda said: console.print(f"  {said}"))

    def _publish(self, settings: PublishConfig) -> None:
        store = self.storage.store()
        source = best_of(settings.sources, store)
        self.better = next(role for role, each in self.config.flows.items() if each == source)
        known = known_version(settings, source, store)
        if known is None:
            chosen = settings.model_copy(update={"source": source})
            try:
                self.version = publish_run(chosen, store)
            except RefusedError as error:
                self.refused = error
                console.print(f"  not published: {error}")
                return
            said = "published"
        else:
            self.version, said = known, "published before"
            if alias_version(store, settings.model, settings.alias) != known:
                set_alias(store, settings.model, settings.alias, known)
        console.print(
            f"  the {self.better} student, better on validation: {self.model}, alias "
            f"{settings.alias}, {said}"
        )

    def _deploy(self, settings: ServingConfig) -> None:
        if self.refused is not None:
            console.print("  not served, for it is not published")
            return
        with working("deploying on Ray Serve"):
            self.endpoint = serve_models(settings, self.storage)

    def _report(self, settings: ReportConfig) -> None:
        """Writes the page and the results, and prints the table and where everything is."""
        store, config = self.storage.store(), self.config
        evaluation = read_comparison(store, settings.name)
        if self.url is not None and self.model is not None:
            bits = ask(self.url, self.model, evaluation, store)
            console.print(f"  asked over HTTP for {ASKED} samples and the log-likelihood of as")
            console.print(f"  many test rows: {bits:.3f} bits/dim on average")
        seconds = time.monotonic() - self.began
        report = comparison_report(
            evaluation,
            store,
            title=settings.title,
            published=None if self.refused else self.better,
            model=self.model,
            endpoint=self.url,
            facts={"commit": git_commit() or "not a checkout", "seconds": f"{seconds:.0f}"},
        )
        page, path = render(report), config.report or Path(f"{config.name}.html")
        store.write(page.encode(), "evaluations", f"{config.name}.html")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
        if config.results is not None:
            outcome = {"advice": report.advice, "seconds": seconds, "endpoint": self.url}
            _write_results(config.results, self.figures, path, outcome)
        print()
        figures_table(self.figures)
        print(f"\nreport   {path.resolve()}")
        if self.refused is not None:
            raise self.refused
        print(f"model    {self.model}, in {store}")
        if self.url is None:
            print(f"took {seconds:.0f} s; a file without `deploy: none` serves it")
            return
        print(f"student  {self.url}  (interactive: {self.endpoint}/docs)")
        print(f"took {seconds:.0f} s; the student answers until: make down, or flowkd down")


def _placed(config: TrainingConfig) -> TrainingConfig:
    """Returns a run that is trained in this process, however long, where it needs no cluster.

    It is in the foreground, and goes on from its last checkpoint: Ray would add nothing to it.
    """
    scaling = config.scaling
    cluster = os.environ.get("RAY_ADDRESS") or recorded()
    if scaling.run_on != "auto" or scaling.workers > 1 or cluster:
        return config
    return config.model_copy(update={"scaling": scaling.model_copy(update={"run_on": "local"})})


def _write_results(
    path: Path, figures: dict[str, FlowFigures], report: Path, facts: dict[str, Any]
) -> None:
    closed = gap_share(figures).estimate if has_roles(figures) else math.nan
    outcome = {
        **{role: asdict(found) for role, found in figures.items()},
        "gap_closed": closed if math.isfinite(closed) else None,  # JSON has no NaN
        "report": str(report.resolve()),
        **facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
