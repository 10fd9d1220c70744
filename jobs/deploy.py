"""Job: deploys models on Ray Serve."""

from __future__ import annotations

from cluster.local import connect
from cluster.serve.config import ServingConfig
from cluster.serve.deployment import deploy
from cluster.storage import StorageConfig
from jobs.cli.entry import run_job


def deploy_models(config: ServingConfig, storage: StorageConfig) -> None:
    """Serve models over HTTP; where a service runs, its models are replaced without a restart."""
    connect()
    endpoint = deploy(config, storage)
    print(f"serving {', '.join(config.models)} at {endpoint}, described at {endpoint}/docs")


if __name__ == "__main__":
    run_job(ServingConfig, deploy_models)
