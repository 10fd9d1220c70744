"""The configurations that there are, by name, and docs/reference/config.md, made of them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from cluster.queue.config import QueueConfig
from cluster.queue.spec import JobSpec
from cluster.serve.config import ServingConfig
from flowkd.config.annotations import models, tag
from flowkd.config.schema import Key, keys_of, sentence_of
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.distillation.objective import ObjectiveConfig
from flowkd.errors import ConfigError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.flows.configs import AnyFlowConfig
from flowkd.registry.imported import ImportConfig
from flowkd.registry.publish import PublishConfig
from flowkd.report.config import ReportConfig
from flowkd.training.config import TrainingConfig
from jobs.pipeline import PipelineConfig
from jobs.studies.capacity_config import CapacityConfig
from jobs.studies.config import StudyConfig
from jobs.workflow.config import WorkflowConfig
from tuning.config import SearchConfig

DOCUMENT = Path("docs/reference/config.md")

# What a file is for, and the unions that it may name: each member has its `kind` as its name here.
FILES: dict[str, type[BaseModel]] = {
    "workflow": WorkflowConfig,
    "run": TrainingConfig,
    "search": SearchConfig,
    "import": ImportConfig,
    "evaluate": EvaluationConfig,
    "publish": PublishConfig,
    "serve": ServingConfig,
    "report": ReportConfig,
    "pipeline": PipelineConfig,
    "job": JobSpec,
    "queue": QueueConfig,
    "study": StudyConfig,
    "capacity": CapacityConfig,
}
UNIONS = {
    "Flows": AnyFlowConfig,
    "Objectives": ObjectiveConfig,
    "Data sets": PrepareConfig,
}


def sections() -> dict[str, dict[str, type[BaseModel]]]:
    """Returns all configurations by name, those of each section together."""
    found = {"Files": dict(FILES)}
    for title, union in UNIONS.items():
        found[title] = {tag(model) or model.__name__: model for model in models(union)}
    return found


def find_model(kind: str) -> type[BaseModel]:
    """Returns a configuration by its name; raises ConfigError, with the names, for another."""
    known = {name: model for group in sections().values() for name, model in group.items()}
    if kind not in known:
        raise ConfigError(f"no configuration {kind!r}; expected one of {', '.join(known)}")
    return known[kind]


def document() -> str:
    """Returns docs/reference/config.md."""
    parts = [
        "# Configuration\n\nMade from the code by `make docs`; `flowkd config schema KIND` prints "
        "a part. A key\nwithout a default must be given, and an unknown one is refused.\n"
    ]
    for title, group in sections().items():
        parts.append(f"## {title}\n")
        for name, model in group.items():
            parts.append(f"### {name}\n\n{sentence_of(model)}\n\n{_table(list(keys_of(model)))}")
    return "\n".join(parts)


def _table(keys: list[Key]) -> str:
    rows = [
        f"| `{key.path}` | {_cell(key.type)} | {_cell(_default(key))} | {_cell(key.sentence)} |"
        for key in keys
    ]
    return "\n".join(["| key | type | default | |", "| --- | --- | --- | --- |", *rows, ""])


def _default(key: Key) -> str:
    return "" if key.default is None else f"`{key.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Writes docs/reference/config.md."""
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
