"""`flowkd submit` and `flowkd queue`: the queue as its users see it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.queue.archive_index import ArchiveIndex
from cluster.queue.events import ENDED
from cluster.queue.messages import JobRow
from cluster.queue.records import QueueError, QueueRecords
from cluster.storage import StorageConfig
from flowkd.errors import FlowkdError
from flowkd.text import visible
from jobs.cli.boundary import Group
from jobs.cli.console import (
    NOTHING_AGAINST_IT,
    CheckOnly,
    Json,
    PlainConsole,
    StoreUri,
    done,
    hint,
    make_table,
    opened_store,
    say,
)
from jobs.cli.lazy import example
from jobs.cli.pipelines import clock, span
from jobs.cli.queue_repair import add_repair

COLUMNS = ["position", "job", "kind", "state", "owner", "priority", "waited", "ran", "progress"]
OF_PIPELINES = ["position", "job", "pipeline", *COLUMNS[2:]]
WORKFLOW = "workflow"
RECENT = 10  # jobs that have ended and are still shown
POLL_SECONDS = 1.0
STALE_SECONDS = 30.0
# Those of `jobs.kinds`, which needs torch, as help does not.
KIND_NAMES = (
    "prepare", "train_teacher", "import_model", "distill", "search", "evaluate", "publish",
    "deploy", "report",
)  # fmt: skip


queue = typer.Typer(
    cls=Group,
    help="The queue as a whole.",
    epilog=example("flowkd queue --once", "flowkd queue --json"),
)
add_repair(queue)


def submit_job(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="FILE|KIND",
            help=f"A file of flowkd run; or {', '.join(KIND_NAMES)}, pipeline.",
        ),
    ],
    config: Annotated[Path | None, typer.Option(help="The job's config file, of a kind.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value, over the file's.")
    ] = None,
    job: Annotated[str | None, typer.Option("--id", help="Submitted twice, it is one job.")] = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    depends_on: Annotated[
        list[str] | None, typer.Option(help="Jobs that must succeed before.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Default: FLOWKD_OWNER, or you.")] = None,
    queued_timeout: Annotated[float | None, typer.Option(help="Most seconds in the queue.")] = None,
    running_timeout: Annotated[
        float | None, typer.Option(help="Most seconds of an attempt.")
    ] = None,
    max_retries: Annotated[int, typer.Option(help="Attempts after one that failed by itself.")] = 2,
    webhook: Annotated[str | None, typer.Option(help="URL told of each transition.")] = None,
    preemptible: Annotated[
        bool, typer.Option(help="It may be stopped to make room for others, and goes on later.")
    ] = False,
    check: CheckOnly = False,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Put a job into the queue, or all those of a file, from data to a served student."""
    if config is None and kind.endswith((".yaml", ".yml")):
        kind, config = WORKFLOW, Path(kind)
    if config is None:
        raise typer.BadParameter(f"expected --config FILE for a job of kind {kind}")
    from cluster.queue.spec import Retries, Timeouts  # the configs of jobs need torch
    from cluster.queue.submission import submit_all
    from flowkd.config import apply_overrides, read_values
    from jobs.kinds import KINDS, read_config
    from jobs.pipeline import pipeline_specs, workflow_specs
    from jobs.queue_checks import check_specs
    from jobs.submission import Options, make_own_spec, make_spec

    with opened_store(store, "write") as opened:
        options = Options(
            id=job,
            priority=priority,
            owner=owner,
            depends_on=tuple(depends_on or ()),
            timeouts=Timeouts(queued=queued_timeout, running=running_timeout),
            retries=Retries(max_retries=max_retries),
            webhook=webhook,
            preemptible=preemptible,
        )
        table = QueueRecords(opened).table()
        if kind == "pipeline":
            specs = pipeline_specs(config, options)
        elif kind == WORKFLOW:
            specs = workflow_specs(config, settings or (), options)
        elif kind not in KINDS and table is not None and kind in table.kinds:
            values = read_values(config)
            apply_overrides(values, settings or ())
            specs = [make_own_spec(kind, values, options)]
        else:
            specs = [make_spec(kind, read_config(kind, config, settings or ()), options)]
        check_specs(specs, QueueRecords(opened), StorageConfig.from_uri(store))
        if check:
            print(NOTHING_AGAINST_IT)
            return
        new = submit_all(QueueRecords(opened), specs)
        found = [{"job": s.id, "accepted": n} for s, n in zip(specs, new, strict=True)]
        if as_json:
            say(found, True)
            return
        for each in found:
            done(f"{each['job']}: {'accepted' if each['accepted'] else 'was accepted before'}")


@queue.callback(invoke_without_command=True)
def show_queue(
    context: typer.Context,
    watch: Annotated[
        bool | None, typer.Option("--watch/--once", help="Default: watch on a terminal.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have ended, too.")] = False,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Show what runs and what waits, in its order."""
    if context.invoked_subcommand is not None:
        return
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        if as_json:
            say([row.model_dump() for row in _rows(records, everything)], True)
        elif not (sys.stdout.isatty() if watch is None else watch):
            rows = _rows(records, everything)
            shown = _shown(rows, everything)
            say(shown, False, _columns(shown))
            for row in rows:
                if row.state == "damaged":
                    print(visible(f"{row.job} is set aside: {row.reason}"))
                elif row.state == "starting" and row.reason:
                    print(visible(f"{row.job} gets no further: {row.reason}"))
            _say_if_stale(records)
        else:
            from rich.live import Live

            archived = _archived(records, set(records.jobs())) if everything else []
            with Live(console=PlainConsole(), refresh_per_second=4) as live:
                while True:
                    shown = _shown([*archived, *_rows(records, False)], everything)
                    live.update(make_table(shown, _columns(shown)))
                    time.sleep(POLL_SECONDS)


def _rows(records: QueueRecords, everything: bool) -> list[JobRow]:
    """Returns the dispatcher's table and what it has not seen yet; all of the archive if asked."""
    table = records.table()
    rows = table.rows if table else []
    known = {row.job for row in rows}
    unseen = [_unseen(records, job) for job in records.jobs() if job not in known]
    rows = rows + [row for row in unseen if row is not None]
    return [*_archived(records, {row.job for row in rows}), *rows] if everything else rows


def _archived(records: QueueRecords, others: set[str]) -> list[JobRow]:
    """Returns the rows of the archived jobs that are not among others, the oldest first."""
    index = ArchiveIndex(records.store)
    found = [each.row for each in index.rows() if each.row is not None and each.job not in others]
    for name in sorted(index.damaged):
        hint(f"{name} is damaged: some archived jobs are not listed; `flowkd show JOB` shows them")
    return found


def _unseen(records: QueueRecords, job: str) -> JobRow | None:
    """Returns the row of a job that the dispatcher has not seen yet; None if its spec is not there.

    A submission makes the folder before the spec.
    """
    row = JobRow(job=job, kind="", owner="", priority=0, state="submitted")
    try:
        spec = records.spec(job).spec
    except QueueError:
        return None
    except FlowkdError as error:
        return row.model_copy(update={"state": "damaged", "reason": str(error)})
    found = {"kind": spec.kind, "owner": spec.owner, "priority": spec.priority}
    found["pipeline"] = spec.pipeline or ""
    return row.model_copy(update=found)


def _say_if_stale(records: QueueRecords) -> None:
    table = records.table()
    if table is None or time.time() - table.time > STALE_SECONDS:
        since = "yet" if table is None else f"since {clock(table.time)}"
        hint(
            f"no dispatcher has looked at the queue {since}: `flowkd up` starts one on this machine"
        )


def _shown(rows: Sequence[JobRow], everything: bool) -> list[dict[str, Any]]:
    ended = [row for row in rows if row.state in ENDED]
    kept = ended if everything else ended[-RECENT:]
    shown = [row for row in rows if row.state not in ENDED] + kept
    return [{**row.model_dump(), "waited": span(row.waited), "ran": span(row.ran)} for row in shown]


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    return OF_PIPELINES if any(row["pipeline"] for row in rows) else COLUMNS
