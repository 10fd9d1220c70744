"""The command `flowkd`: where each of its commands lies, and what goes before all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from flowkd import __version__
from jobs.cli.lazy import Place, example, lazy_group
from jobs.cli.sink import be_quiet

WORK, QUEUE, CLUSTER, STORE = "Work", "The queue", "The cluster of this machine", "The store"

# In the order of the list. A command is imported when it is called, or its own help asked for.
PLACES = {
    "new": Place(
        "jobs.cli.workflow:new_file",
        WORK,
        "Look at data, and write one file of everything from import to deployment, to be edited.",
        "flowkd new stars.csv",
    ),
    "run": Place(
        "jobs.cli.workflow:run_file",
        WORK,
        "Do all that a file asks for, from data to a served student; started again, it goes on.",
        "flowkd run stars.yaml --set deploy=none",
    ),
    "report": Place(
        "jobs.cli.report:report_command",
        WORK,
        "Write the report of a comparison, run, model, study or search as one HTML file.",
        "flowkd report quickstart --open",
    ),
    "data": Place("jobs.cli.data:data", WORK, "Data sets."),
    "search": Place(
        "jobs.cli.search:app",
        WORK,
        "Search the best student of a teacher within a budget, train it in full and publish it.",
    ),
    "config": Place("jobs.cli.config:config", WORK, "Config files."),
    "submit": Place(
        "jobs.cli.queue:submit_job",
        QUEUE,
        "Put a job into the queue, or all those of a file, from data to a served student.",
        "flowkd submit distill --config distilled.yaml --priority 2",
    ),
    "queue": Place("jobs.cli.queue:queue", QUEUE, "The queue as a whole."),
    "show": Place(
        "jobs.cli.queue_jobs:show_job",
        QUEUE,
        "Show a job, with all that has happened to it, or the stages of a pipeline.",
        "flowkd show JOB",
    ),
    "logs": Place(
        "jobs.cli.queue_jobs:show_logs",
        QUEUE,
        "Print what a job has printed; of a pipeline, the one that runs or failed.",
        "flowkd logs JOB --follow",
    ),
    "cancel": Place(
        "jobs.cli.queue_jobs:cancel_job",
        QUEUE,
        "Cancel a job, or a pipeline: what waits never starts, what runs is stopped.",
        "flowkd cancel JOB",
    ),
    "retry": Place(
        "jobs.cli.queue_jobs:retry_job",
        QUEUE,
        "Put a job that has ended into the queue again, or the stages of a pipeline that failed.",
        "flowkd retry JOB",
    ),
    "doctor": Place(
        "jobs.cli.doctor:doctor",
        CLUSTER,
        "Look whether this machine, its packages and the store are fit, and say what to do.",
        "flowkd doctor --store s3://bucket/prefix",
    ),
    "up": Place(
        "jobs.cli.cluster:start_cluster",
        CLUSTER,
        "Start Ray on this machine, on loopback, and the dispatcher; what runs already stays.",
        "flowkd up --cpus 4",
    ),
    "down": Place(
        "jobs.cli.cluster:stop_cluster",
        CLUSTER,
        "Stop what `up` started, and all that runs on it; the queue's records stay.",
        "flowkd down",
    ),
    "status": Place(
        "jobs.cli.cluster:show_status",
        CLUSTER,
        "Show the cluster of this machine, its dispatcher and the store.",
        "flowkd status --json",
    ),
    "env": Place(
        "jobs.cli.cluster:show_environment",
        CLUSTER,
        'Print the variables by which Ray\'s own commands reach the cluster: eval "$(flowkd env)".',
        'eval "$(flowkd env)"',
    ),
    "models": Place("jobs.cli.models:models", STORE, "Published models."),
    "runs": Place("jobs.cli.runs:runs", STORE, "Trainings."),
    "store": Place("jobs.cli.stores:stores", STORE, "The store itself."),
}

app = typer.Typer(
    cls=lazy_group(PLACES),
    no_args_is_help=True,
    help="Distils large normalizing flows into small ones, keeps and serves them.",
    epilog=example("flowkd data import cifar10 --source cifar-10-binary.tar.gz"),
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"flowkd {__version__}")
        raise typer.Exit()


@app.callback()
def _all_commands(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Tell which it is."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Results and errors alone, no hints.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of every error.")
    ] = False,
) -> None:
    be_quiet(quiet)


if __name__ == "__main__":
    app(prog_name="flowkd")
