"""What tests of the queue's commands share."""

from pathlib import Path

import pytest

from tests.support.queue_commands import write_configs


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A folder of config files: a training, a publication, a pipeline of both."""
    return write_configs(tmp_path)
