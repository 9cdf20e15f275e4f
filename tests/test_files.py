"""Files in folders that strangers may have made: no link is followed, nothing is half written."""

import os

import pytest

from jaxgan import UserError
from jaxgan.files import is_name, open_here, refuse_links, write_whole


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def test_a_whole_write_replaces_links_and_follows_none(tmp_path, victim):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "config.json.tmp"):
        (folder / name).symlink_to(victim)
    write_whole(folder / "config.json", "new")
    assert victim.read_text() == "precious"
    assert (folder / "config.json").read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_nothing_is_opened_through_a_link_or_a_pipe(tmp_path, victim, mode):
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(UserError, match=r"\.lock is a link, through which nothing is written"):
        open_here(tmp_path / ".lock", mode)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is no regular file"):
        open_here(tmp_path / "pipe", mode)
    assert victim.read_text() == "precious"


def test_a_lock_is_not_truncated_and_rows_are_appended(tmp_path):
    (tmp_path / "file").write_text("old\n")
    open_here(tmp_path / "file", "r+").close()
    assert (tmp_path / "file").read_text() == "old\n"
    with open_here(tmp_path / "file") as file:
        file.write("new\n")
    assert (tmp_path / "file").read_text() == "old\nnew\n"


def test_links_inside_a_folder_are_refused_but_not_that_to_it(tmp_path, victim):
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (run / "wandb").mkdir()
    (run / "wandb/latest-run").symlink_to(run)
    (tmp_path / "link").symlink_to(run)
    refuse_links(tmp_path / "link")
    (run / "samples/00000001.png").symlink_to(victim)
    with pytest.raises(UserError, match=r"samples/00000001\.png is a link"):
        refuse_links(run)


def test_names_without_paths():
    assert all(is_name(word, deep=True) for word in ("a.py", "a/b.py", "é.py"))
    bad = ["", ".", "..", "/a", "a//b", "a/../b", "a\\b", "C:a", "a\0", "a\nb", "a/", "\x1b[1m"]
    assert not any(is_name(word, deep=True) for word in bad)
    assert not is_name("a/b.py")
