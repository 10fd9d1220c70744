"""The page docs/results/scale.md."""

from __future__ import annotations

from typing import Any

SITES = {"disk": "a folder", "s3": "the S3 server of the tests, in memory and slow"}
# What the tests hold, and what was aimed at on a machine that does nothing else.
AIMS = """
- a look at the queue when nothing changes: at most 50 ms and 5 calls of the store;
- the dispatcher's memory and `queue.json`: the same however many jobs have ended;
- a reference of a model: as many calls among 10,000 versions as among three;
- a line of 1,000 jobs on a cluster of 1,000 nodes: at most 100 ms a look;
- a data set that one worker prepares: each shard is read once."""

LIMITS = """
## What limits next, on paper

- **Jobs that run.** Each look reads an outcome and a heartbeat of each: 2 calls a job. On S3, at
  10 ms a call, 100 of them take 2 s a look. An object with the heartbeats of a node would be next.
- **Jobs that wait** are all in the table, some 200 bytes each: 10,000 of them, which
  `limits.max_queued` allows, make it 2 MB, written when something changes.
- **Jobs that end.** They move in batches of 16, one batch a look: with `poll_interval` at 1 s, 16 a
  second on disk; on S3 a move costs a copy and a removal of each object, some tens of requests.
- **The archive.** `flowkd queue --all` reads the whole index, about 350 bytes a job: 35 MB for
  100,000. `flowkd show PIPELINE` lists the archive once, on S3 a request for each 1,000 jobs.
  `archive_days` bounds both.
- **Moves of an alias** stay, so that none can be repeated by mistake: `resolve` lists them, on S3 a
  request for each 1,000.
- **Versions of a model.** `flowkd models list` reads each manifest; `versions` lists all objects of
  the model, on S3 a request for each 1,000.
- **Nodes.** A look compares each kind of process with each node, not each job. With more than some
  thousand nodes, or as many kinds of jobs as jobs, classes of equal nodes would be next."""


def document(results: dict[str, Any]) -> str:
    """Returns the page."""
    parts = [_site(name, results[name]) for name in SITES if name in results]
    shards = results["shards"]
    return f"""# How much it bears

`make bench-scale`, {results["date"]}, on {results["machine"]}, load {results["load"]}. Calls of the
store are counted, and the same on every machine. *ms* is the median by the clock, *CPU ms* that of
the process, which other work on the machine does not lengthen as much.

Aimed at, and but for the times held by tests:
{AIMS}

{chr(10).join(parts)}
## The line of a large cluster

{_admission(results["admission"])}

Of a cluster that is full one job wants a fifth of all nodes: it is blocked, jobs pass it, and those
that are preemptible make room.

## Shards

A worker that looks for a learning rate, asks a teacher and trains reads each of
{shards["shards"]} shards {_times(shards["reads_of_each"])}.
{LIMITS}
"""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _site(name: str, found: dict[str, Any]) -> str:
    queue, models = found["queue"], found["models"]
    rows = [
        f"| {what} | {row['ms']:,} | {row['cpu_ms']:,} | {row['calls']} | {_named(row)} |"
        for what, row in (*queue.items(), *models.items())
        if isinstance(row, dict)
    ]
    heading = f"{queue['archived']:,} ended jobs, {models['versions']:,} versions in {SITES[name]}"
    return f"""## {heading}

| | ms | CPU ms | calls | of them |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Of the ended jobs {queue["in_queue"]} more are in the queue and its table (`keep_ended`):
`queue.json` has {queue["table_bytes"]:,} bytes, and the dispatcher holds
{queue["dispatcher_mib"]} MiB for all. The index of the archive is {queue["index_objects"]} objects.
"""


def _named(row: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in row["by_name"].items())


def _admission(cases: dict[str, dict[str, Any]]) -> str:
    rows = [
        f"| {name} | {case['nodes']:,} | {case['running']:,} | {case['waiting']:,} | "
        f"{case['started']:,} | {case['make_room']:,} | {case['ms']:,} | {case['cpu_ms']:,} |"
        for name, case in cases.items()
    ]
    return "\n".join(
        [
            "| | nodes | run | wait | start | make room | ms a look | CPU ms |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ]
    )
