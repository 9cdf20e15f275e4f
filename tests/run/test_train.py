"""Training: resumed equals uninterrupted, and nothing is lost."""

import dataclasses
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jaxgan import Checkpoint, Data, Experiment, Log, Mesh, UserError
from jaxgan.fields import Points
from jaxgan.run import Run, train
from jaxgan.run.folder import wait_for
from jaxgan.run.train import Look, Stopped
from jaxgan.systems.dcgan import DCGAN
from jaxgan.training.checkpoint import Diverged
from jaxgan.training.digest import state_sha256
from tests.toys import StagedGAN, TinyGAN

QUIET = Console(file=io.StringIO())


def experiment(**changes):
    settings = {
        "system": TinyGAN(repeats=2),
        "data": Data(source="ring"),
        "batch": 16,
        "steps": 12,
        "seed": 3,
        "mesh": Mesh(data=1),
        "checkpoint": Checkpoint(every=5),
        "log": Log(every=4, samples=6, grid=16),
    }
    return Experiment(**{**settings, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(experiment(), tmp_path_factory.mktemp("runs") / "whole", console=QUIET)


def test_a_run_leaves_what_it_promises(finished):
    folder = finished.folder
    assert Run(folder).experiment == experiment()
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["10", "12", "5"]
    assert sorted(p.name for p in (folder / "samples").iterdir()) == [
        "00000006.png",
        "00000012.png",
    ]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 4, 8, 12]
    assert {
        "discriminator/loss",
        "generator/loss",
        "discriminator/gradient_norm",
        "spectral/discriminator/hidden",
        "images_per_second",
    } <= set(rows[-1])
    assert list(folder.glob("events.out.tfevents.*"))


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(finished, tmp_path):
    folder = tmp_path / "run"
    train(experiment(steps=7), folder, console=QUIET)
    resumed = train(experiment(), folder, console=QUIET)
    assert int(resumed.state.step) == 12
    assert state_sha256(resumed.state) == state_sha256(finished.state)


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_staged_run_resumes_inside_a_stage_and_on_its_border(tmp_path, stop):
    staged = experiment(system=StagedGAN(first=4), steps=8)
    whole = train(staged, tmp_path / "whole", console=QUIET)
    train(dataclasses.replace(staged, steps=stop), tmp_path / "part", console=QUIET)
    resumed = train(staged, tmp_path / "part", console=QUIET)
    assert state_sha256(resumed.state) == state_sha256(whole.state)


def test_resumed_on_other_devices_agrees(finished, tmp_path):
    folder = tmp_path / "run"
    train(experiment(steps=5, mesh=Mesh(data=4, fsdp=2)), folder, console=QUIET)
    resumed = train(experiment(mesh=Mesh(data=2)), folder, console=QUIET)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.device_get(resumed.state),
        jax.device_get(finished.state),
    )


def test_a_finished_run_trains_no_further(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    rows = (folder / "metrics.jsonl").read_text()
    again = train(experiment(), folder, console=QUIET)
    assert state_sha256(again.state) == state_sha256(finished.state)
    assert (folder / "metrics.jsonl").read_text() == rows


def test_an_unreadable_checkpoint_falls_back_to_the_one_before(finished, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    for file in (folder / "checkpoints" / "12" / "default").rglob("*"):
        if file.is_file():
            file.write_bytes(b"broken")
    resumed = train(experiment(), folder, console=QUIET)
    assert "12 cannot be read" in caplog.text
    assert state_sha256(resumed.state) == state_sha256(finished.state)


def test_all_checkpoints_unreadable_is_told(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    for file in (folder / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"broken")
    with pytest.raises(UserError, match="none of 3 checkpoints can be read"):
        _ = Run(folder).state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 8}, "batch: 8 here, 16 in the run"),
        ({"system": TinyGAN(repeats=2, width=9)}, "system.width: 9 here, 8 in the run"),
        ({"system": StagedGAN()}, "holds a run of TinyGAN, not of StagedGAN"),
        ({"data": Data(source="grid")}, "data.source: grid here, ring in the run"),
    ],
)
def test_a_changed_setting_is_refused_by_name(finished, changes, message):
    before = sorted(finished.folder.rglob("*"))
    with pytest.raises(UserError, match=message):
        train(experiment(**changes), finished.folder, console=QUIET)
    assert sorted(finished.folder.rglob("*")) == before


def test_folders_that_cannot_hold_a_run_are_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="holds no run"):
        train(experiment(), tmp_path / "full", console=QUIET)
    with pytest.raises(UserError, match="not a folder one may write to"):
        train(experiment(), tmp_path / "file" / "run", console=QUIET)


def test_a_run_killed_while_it_was_described_begins_again(tmp_path):
    (tmp_path / "config.json.tmp").write_text('{"system"')
    train(experiment(steps=1), tmp_path, console=QUIET)
    assert Run(tmp_path).experiment == experiment(steps=1)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_process_that_would_train_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgan.run.folder._SEEN_WITHIN", 0)
    settings = {"config.json": "{}", "data.json": "{}"}
    with pytest.raises(UserError, match="give --out on a shared disk"):
        wait_for(tmp_path, settings)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "data.json").write_text("{1}")
    with pytest.raises(UserError, match=r"data.json of process 0 differs: give all"):
        wait_for(tmp_path, settings)
    (tmp_path / "data.json").write_text("{}")
    wait_for(tmp_path, settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explodes(TinyGAN):
    """The generator's loss is infinite from step 7 on."""

    def generator_loss(self, view, batch, key):
        loss, metrics = super().generator_loss(view, batch, key)
        late = view.memory["clock"] >= 7
        view.memory["clock"] += 1
        return loss / jax.numpy.where(late, 0.0, 1.0), metrics

    def memory(self, key):
        return {"clock": jax.numpy.zeros((), jax.numpy.int32)}

    def stages(self):
        (stage,) = super().stages()
        d, g = stage.players
        return (
            dataclasses.replace(
                stage, players=(d, dataclasses.replace(g, writes=("generator", "clock")))
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unseen(TinyGAN):
    """All that it can do needs something to be given."""

    def uses(self):
        generate = super().uses()["generate"]
        return {"generate": dataclasses.replace(generate, takes={"z": Points((4,))})}


def test_a_run_of_which_nothing_can_be_shown_has_no_pictures(tmp_path):
    run = train(experiment(system=Unseen(repeats=2), steps=2), tmp_path / "run", console=QUIET)
    assert not list((run.folder / "samples").glob("*"))
    with pytest.raises(UserError, match=r"generate needs z \(points of 4 numbers\): give it"):
        run.sample(2)
    assert run.sample(2, z=np.zeros((2, 4))).shape == (2, 2)


def test_nan_stops_at_its_step_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(Diverged, match=r"step 8: generator/loss is -?inf"):
        train(experiment(system=Explodes(repeats=2)), tmp_path / "run", console=QUIET)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["5"]


def test_signals_save_and_stop(tmp_path):
    class Clock(Console):
        def print(self, *args, **kwargs):
            if "step 4/" in str(args):
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        train(experiment(), tmp_path / "run", console=Clock(file=QUIET.file))
    assert stopped.value.signal == signal.SIGTERM
    assert int(Run(tmp_path / "run").state.step) == stopped.value.step == 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_killed_at_a_random_moment_and_resumed_is_bit_identical(tmp_path):
    """kill -9 of a real process, wherever it is: compiling, stepping, or saving."""
    config = tmp_path / "tiny.py"
    config.write_text(
        "from tests.toys import TinyGAN\n"
        "from jaxgan import Checkpoint, Data, Experiment, Log, Mesh\n"
        "config = Experiment(system=TinyGAN(repeats=2), data=Data(source='ring'), batch=16,\n"
        "    seed=3, mesh=Mesh(data=1), checkpoint=Checkpoint(every=20),\n"
        "    log=Log(every=10, samples=10**6, grid=16))\n"
    )
    command = [sys.executable, "-m", "jaxgan", "train", str(config)]
    env = {
        **os.environ,
        "PYTHONPATH": os.getcwd(),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "c"),
    }

    def run(name, steps, **options):
        return subprocess.Popen(
            [*command, "--out", str(tmp_path / name), "--steps", str(steps)],
            env=env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            **options,
        )

    whole = run("whole", 400)
    whole.communicate()
    assert whole.returncode == 0
    victim = run("killed", 400)
    while not any(p.name.isdigit() for p in tmp_path.glob("killed/checkpoints/*")):
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    victim.kill()
    victim.communicate()
    resumed = run("killed", 400)
    assert "resuming at step" in resumed.communicate()[1]
    assert resumed.returncode == 0
    digests = [state_sha256(Run(tmp_path / name).state) for name in ("whole", "killed")]
    assert digests[0] == digests[1]
    rows = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == sorted(set(steps))


def test_a_use_that_fails_does_not_cost_what_was_trained(tmp_path):
    class Failing(Exception):
        pass

    def broken(view, taken, keys, options):
        raise Failing

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Shy(TinyGAN):
        def uses(self):
            uses = super().uses()
            return {"generate": dataclasses.replace(uses["generate"], call=broken)}

    with pytest.raises(Failing):
        train(experiment(system=Shy(), steps=2), tmp_path / "run", console=QUIET)
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()


@pytest.mark.parametrize(
    "text", ['{"fields": {"label": [1]}}', '{"fields": {"label": {"names": 5}}}']
)
def test_broken_facts_of_the_data_are_told(finished, tmp_path, text):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "data.json").write_text(text)
    with pytest.raises(UserError, match=r"data\.json is broken"):
        Run(folder).sample(1)


def test_lost_facts_of_the_data_are_told(finished, tmp_path):
    folder, told = tmp_path / "run", io.StringIO()
    shutil.copytree(finished.folder, folder)
    (folder / "data.json").unlink()
    train(experiment(), folder, console=Console(file=told, width=1000))
    assert f"{folder} has no data.json: its data may be others than" in told.getvalue()


def test_the_first_picture_shows_real_items_as_networks_see_them(tmp_path):
    images = np.zeros((8, 8, 8, 1), np.uint8)
    images[:, :, :4] = 255  # the left half
    settings = {"system": DCGAN(shape=(16, 16, 1), width=2), "steps": 2, "batch": 8}
    data_ = Data(source=images, flip=True, resize=True)
    log = Log(samples=1, grid=4)
    folder = train(experiment(**settings, data=data_, log=log), tmp_path / "run", console=QUIET)
    first, second = (
        np.asarray(Image.open(path)) for path in sorted((folder.folder / "samples").iterdir())
    )
    assert second.shape == (34, 34)
    assert first.shape == (34, 34 + 16 + 34)
    assert (first[:, 34:50] == 255).all()
    cells = [first[y : y + 16, x : x + 16] for y in (0, 18) for x in (0, 18)]
    left = sum(cell[:, :6].mean() > 200 for cell in cells)
    right = sum(cell[:, 10:].mean() > 200 for cell in cells)
    assert left + right == 4


def test_a_profile_of_some_steps_is_kept(tmp_path):
    run = train(experiment(), tmp_path / "run", console=QUIET, look=Look(profile=2))
    assert len(list((run.folder / "plugins" / "profile").rglob("*.xplane.pb"))) == 1


def test_what_diverges_is_traced_through_train(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    rate = TinyGAN(learning_rate=1e38)
    with pytest.raises(Diverged, match=r"the first (nan|inf) comes from \w+, at .*\.py:\d+"):
        train(
            experiment(system=rate, mesh=Mesh(data=4)),
            tmp_path / "run",
            console=console,
            look=Look(debug=True),
        )
    assert "discriminator/hidden/kernel" in console.file.getvalue()
