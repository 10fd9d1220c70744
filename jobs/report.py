"""Writes the page of a comparison to the store."""

from __future__ import annotations

from cluster.storage import StorageConfig
from cluster.train.commit import git_commit
from flowkd.report.config import ReportConfig
from flowkd.report.stored import write_report
from jobs.cli.entry import run_job


def report_comparison(config: ReportConfig, storage: StorageConfig) -> None:
    """Write the report of a comparison to the store; `flowkd report NAME` fetches it."""
    facts = {"commit": git_commit() or "not a checkout"}
    path = write_report(config, storage.store(), facts)
    print(f"report {path} in {storage.store()}: flowkd report {config.name}")


if __name__ == "__main__":
    run_job(ReportConfig, report_comparison, local=True)
