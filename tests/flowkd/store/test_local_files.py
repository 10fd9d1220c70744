"""A store in a folder is its user's alone."""

import pytest

from flowkd.store.store import Store


@pytest.mark.parametrize("how", ["write", "create"])
def test_no_other_user_enters_what_is_made(tmp_path, how):
    tmp_path.chmod(0o755)
    getattr(Store(str(tmp_path / "above" / "store")), how)(b"data", "a", "b", "c")
    for folder in ("above", "above/store", "above/store/a/b"):
        assert (tmp_path / folder).stat().st_mode & 0o077 == 0, folder
    assert tmp_path.stat().st_mode & 0o777 == 0o755  # what was there stays as it was
