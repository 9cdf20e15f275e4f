"""Disks that are full and folders that go: one line, what can be saved is, and nothing hangs."""

import errno
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

import jaxgan
from jaxgan import Checkpoint, Log, UserError
from jaxgan.cli import main
from jaxgan.errors import Unwritten
from jaxgan.interrupt import STATUS
from jaxgan.run import Run, train
from jaxgan.run import folder as files
from jaxgan.training.checkpoint import Checkpoints
from tests.run.test_train import QUIET, experiment
from tests.toys import TinyGAN

# What Orbax abandons when a save fails, as it does in all of these.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine 'async_serialize_from_host.<locals>.write_fragment' was never awaited"
)


@pytest.fixture(autouse=True)
def _collected():
    """Here, where it is expected, and not in the test that happens to be next."""
    yield
    gc.collect()


class At(Console):
    """Does something once a step has been logged."""

    def __init__(self, step, act):
        super().__init__(file=QUIET.file)
        self.words, self.act = f"step {step}/", act

    def print(self, *args, **kwargs):
        if self.words in str(args):
            self.act()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run at step 2, of which each test takes a copy."""
    return train(
        experiment(steps=2), tmp_path_factory.mktemp("begun") / "run", console=QUIET
    ).folder


@pytest.fixture
def run(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("samples", "samples is a file, where a folder belongs"),
        ("checkpoints", "checkpoints is a file, where a folder belongs"),
        ("best", "best is a file, where a folder belongs"),
        ("metrics.jsonl", "metrics.jsonl is a folder, where a file belongs"),
    ],
)
def test_something_else_in_the_place_of_what_is_written_is_told_before(run, name, message, caplog):
    saved = run / "saved"
    (run / "checkpoints").rename(saved) if name == "checkpoints" else None
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    if "folder, where" in message:
        path.unlink()
        path.mkdir()
    else:
        path.write_text("")
    console = At("", lambda: pytest.fail("it was found too late"))
    with pytest.raises(UserError, match=message):
        train(experiment(), run, console=console)


@pytest.mark.parametrize(("left", "names"), [(0, "the disk has 0.0 MB left"), (10**9, "files")])
def test_a_disk_without_room_is_told_before(tmp_path, monkeypatch, left, names):
    disk = SimpleNamespace(f_bavail=left, f_frsize=1, f_files=100, f_favail=3)
    monkeypatch.setattr(files.os, "statvfs", lambda path: disk)
    with pytest.raises(UserError, match=names):
        train(experiment(), tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def small_files():
    """Files of 20 kB at most, as on a disk that is nearly full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, capfd, small_files):
    state = jaxgan.init(TinyGAN(width=128, latent=128))
    jaxgan.save(state, tmp_path / "own")
    small_files(20_000)
    later = state.replace(step=state.step + 1)
    with pytest.raises(UserError, match="own cannot be written: File too large"):
        jaxgan.save(later, tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["0"]
    with pytest.raises(Unwritten, match="own cannot be written: File too large"):
        _wait_for_a_failure(Checkpoints(tmp_path / "own", keep=2), later)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["0"]
    assert capfd.readouterr().err.count("\n") < 5  # Orbax alone says 400 lines


def _wait_for_a_failure(checkpoints, state):
    with checkpoints as writer:
        writer.save(state)
        for _ in range(1000):
            writer.check()
            time.sleep(0.01)


def test_pictures_that_cannot_be_written_end_the_run_with_what_was_trained_saved(run, capsys):
    def spoil():
        shutil.rmtree(run / "samples")
        (run / "samples").write_text("")

    with pytest.raises(Unwritten, match=r"samples.00000006.png cannot be written: File exists"):
        train(experiment(), run, console=At(4, spoil))
    assert Run(run).step == 6


def test_checkpoints_that_have_become_a_file_are_told_with_a_status_of_their_own(
    run, monkeypatch, capsys
):
    def spoil():
        (run / "checkpoints").rename(run / "kept")
        (run / "checkpoints").write_text("")

    monkeypatch.setattr(sys.modules["jaxgan.run.train"], "Plain", lambda **_: At(4, spoil))
    assert main(["train", str(run), "--steps", "12"]) == 74
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "checkpoints cannot be written: Not a directory; nothing is saved: mend it" in said


def test_a_run_that_was_moved_away_is_told_and_what_is_saved_resumes(run):
    gone = run.with_name("gone")
    with pytest.raises(Unwritten, match="moved away or emptied"):
        train(
            experiment(log=Log(every=4, samples=10**6, grid=16)),
            run,
            console=At(4, lambda: run.rename(gone)),
        )
    assert Run(run).step == 5


def test_what_a_tracker_cannot_write_neither_hangs_nor_is_lost(run, monkeypatch):
    class Full:
        def __init__(self, *_):
            pass

        def scalars(self, values, step):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self):
            self.scalars({}, 0)

    monkeypatch.setitem(jaxgan.training.trackers.TRACKERS, "tensorboard", Full)
    with pytest.raises(Unwritten, match=r"Full keeps in .* No space left on device"):
        train(experiment(), run, console=QUIET)
    assert Run(run).step == 3  # the first that was to be logged


def test_checkpoints_come_by_time_too(run):
    train(experiment(checkpoint=Checkpoint(every=1000, minutes=1e-6)), run, console=QUIET)
    assert sorted(int(p.name) for p in (run / "checkpoints").iterdir()) == [10, 11, 12]


def test_an_interrupt_while_a_command_starts_is_one_line(tmp_path):
    """While it imports, which takes seconds."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "jaxgan", "configs"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    ) as command:
        for line in command.stderr:
            if "numpy" in line:  # after the package has begun
                break
        command.send_signal(signal.SIGINT)
        said = [line for line in command.stderr if not line.startswith("import time:")]
    assert said == ["jaxgan: interrupted\n"]
    assert command.returncode == STATUS
