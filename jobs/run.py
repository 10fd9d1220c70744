"""Runs a workflow: data, teacher, students, comparison, publication, service, report."""

from __future__ import annotations

from jobs.cli.entry import run_job
from jobs.cli.run_workflow import run_workflow
from jobs.workflow.checks import check_workflow
from jobs.workflow.config import WorkflowConfig

if __name__ == "__main__":
    run_job(WorkflowConfig, run_workflow, check_workflow)
