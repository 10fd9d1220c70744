"""What tests of configurations share."""

import pytest
import yaml


@pytest.fixture
def file(tmp_path):
    """Writes values as YAML and returns the path."""

    def write(values):
        path = tmp_path / "config.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
        return path

    return write
