"""Links of a local folder are followed, no file comes twice, and what is passed over is noted."""

import os

import pytest

from flowkd.data.importers.local_folder import LINKS, walk_folder
from flowkd.data.importers.sources import Source
from flowkd.data.notes import Notes
from flowkd.errors import DataError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "1.png").write_bytes(b"one")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "2.png").write_bytes(b"two two")
    return folder


def walked(root):
    notes = Notes()
    found = {name: size for name, size, _ in walk_folder(str(root), notes)}
    return found, {detail: noted.names for detail, noted in notes.about(LINKS)}


def test_links_to_folders_and_files_elsewhere_are_followed(root):
    (root / "c.png").symlink_to("../elsewhere/deep/2.png")
    assert walked(root) == ({"b/1.png": 3, "c.png": 7}, {})
    (root / "a").symlink_to("../elsewhere")
    found, noted = walked(root)
    assert found == {"b/1.png": 3, "a/deep/2.png": 7}
    assert noted == {"to files that are read already": ["c.png"]}
    assert {m.name: len(m.read()) for m in Source(str(root)).members()} == found


def test_what_a_link_leads_back_to_comes_once_under_its_own_name(root):
    (root / "a").symlink_to("b")
    (root / "b" / "up").symlink_to("..")
    (root / "0.png").symlink_to("b/1.png")
    (root / "gone").symlink_to("nothing")
    found, noted = walked(root)
    assert found == {"b/1.png": 3}
    assert {detail: sorted(names) for detail, names in noted.items()} == {
        "to folders that are read already": ["a", "b/up"],
        "to files that are read already": ["0.png"],
        "to nothing": ["gone"],
    }


def test_a_pipe_is_no_file(root):
    os.mkfifo(root / "pipe.png")
    assert walked(root)[0] == {"b/1.png": 3}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told(root):
    (root / "b").chmod(0)
    with pytest.raises(DataError, match=r"folder .*/b cannot be read: Permission denied"):
        walked(root)
    (root / "b").chmod(0o700)
