"""What S3 servers on loopback have in common: a port of their own, a bucket, an environment."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import botocore.config
import botocore.exceptions
import botocore.session


def environment(endpoint: str, access_key: str, secret_key: str) -> dict[str, str]:
    """Returns what s3fs and botocore must find in the environment, and nothing else."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "12",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
    }


def reserve_port() -> socket.socket:
    """Returns a socket on a free port, which stays this test run's until the socket is closed."""
    # Bound and never listening: nobody else is given the port, while a server that sets
    # SO_REUSEADDR, as Swift and moto do, may still listen on it, and again after a stop.
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def await_bucket(
    bucket: str, environment: dict[str, str], timeout: float, explain: Callable[[], str]
) -> None:
    """Creates a bucket as soon as the server answers.

    Args:
        bucket: Its name.
        environment: Of the server.
        timeout: Seconds within which it must answer.
        explain: Returns why it cannot answer any more, if so, or "".

    Raises:
        RuntimeError: It did not answer, or cannot any more.
    """
    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=botocore.config.Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, proxies={}
        ),
    )
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.create_bucket(Bucket=bucket)
            return
        except client.exceptions.BucketAlreadyOwnedByYou:
            return
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            dead = explain()
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"no server came up; {dead}; last answer: {error}") from error
            time.sleep(0.1)
