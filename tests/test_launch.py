"""launch/: many processes on this machine for real; the clouds' files as far as one can here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from PIL import Image

from jaxgan.cli import main
from jaxgan.run.open import Run
from jaxgan.training.digest import state_sha256

LAUNCH = Path(__file__).parent.parent / "launch"
SCRIPTS = ("tpu", "slurm")

CONFIG = """
from jaxgan import Checkpoint, Data, Experiment, Log, Mesh
from jaxgan.parallel import sharding
from tests.toys import TinyGAN
sharding._WHOLE_BELOW = 0  # arrays as small as these are split over devices, too
config = Experiment(system=TinyGAN(repeats=2), data=Data(source="ring"), batch=16, seed=3, steps=4,
    mesh=Mesh(data=2, fsdp=2), checkpoint=Checkpoint(every=3),
    log=Log(every=2, samples=10**6, grid=16))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("launch") / "tiny.py"
    path.write_text(CONFIG)
    return path


class Launched:
    """launch/local with `jaxgan train` on 2 processes x N devices, and what they have said."""

    def __init__(self, *options, devices):
        self.process = subprocess.Popen(
            [
                LAUNCH / "local",
                "2",
                str(devices),
                sys.executable,
                "-m",
                "jaxgan",
                "train",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stdout as lines:
            for line in lines:
                self.said += line

    def wait_for(self, text):
        while text not in self.said:
            assert self.process.poll() is None, self.said
            time.sleep(0.05)

    def status(self):
        self._reader.join()
        return self.process.wait()

    def end(self):
        if self.process.poll() is None:
            for index in (0, 1):
                os.kill(self.pid(index), signal.SIGKILL)
        self.status()

    def pid(self, index):
        """Of the process with this number."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for child in children.split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            if words[-3:-1] == ["--process", str(index)]:
                return int(child)
        raise AssertionError(self.said)


@pytest.fixture
def launch():
    """Launches, and leaves nothing behind."""
    launched = []

    def start(*options, devices=2):
        launched.append(Launched(*options, devices=devices))
        return launched[-1]

    yield start
    for run in launched:
        run.end()


def assert_close(a, b):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), *map(jax.device_get, (a, b))
    )


def test_two_processes_equal_one(config, launch, tmp_path, monkeypatch):
    """And only the first writes and speaks, once."""
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 2**14)  # set back after the config
    assert main(["train", str(config), "--out", str(tmp_path / "one")]) == 0
    two = launch(config, "--out", tmp_path / "two")
    assert two.status() == 0, two.said
    one, two_run = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert int(two_run.state.step) == 4
    assert_close(one.state, two_run.state)
    for words in ("ring: 100,000 points", "step 2/4", "trained to step 4"):
        assert f"[0] {words}" in two.said or f"[0] {tmp_path / 'two'}: {words}" in two.said
        assert two.said.count(words) == 1, two.said
    for name in ("config.json", "data.json"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
    rows = [
        [json.loads(row) for row in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert [row["step"] for row in rows[1]] == [1, 2, 4]
    for a, b in zip(*rows, strict=True):
        del a["images_per_second"], b["images_per_second"]
        assert a == pytest.approx(b, abs=1e-5)
    assert len(list((tmp_path / "two").glob("events.*"))) == 1
    pictures = []
    for run in ("one", "two"):
        with Image.open(tmp_path / run / "samples" / "00000004.png") as image:
            # What is drawn stands to the right of real items, which are those of process 0's part.
            pictures.append(np.asarray(image, np.float32)[:, image.width // 2 :])
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.1  # antialiased edges may round otherwise


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_run_resumes(config, launch, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 2**14)
    steps = ["--checkpoint.every", "20", "--log.every", "10"]
    run = launch(config, "--out", tmp_path / "killed", "--steps", "100000", *steps)
    run.wait_for("step 30/")
    os.kill(run.pid(1), signal.SIGKILL)
    killed = time.monotonic()
    assert run.status() == 128 + signal.SIGKILL
    assert time.monotonic() - killed < 60
    assert "launch/local: process 1 was killed by SIGKILL" in run.said
    newest = max(int(p.name) for p in tmp_path.glob("killed/checkpoints/*") if p.name.isdigit())
    assert f"resumes from {tmp_path / 'killed' / 'checkpoints' / str(newest)}" in run.said
    end = ["--steps", str(newest + 5), *steps]
    assert main(["train", str(config), "--out", str(tmp_path / "killed"), *end]) == 0
    assert main(["train", str(config), "--out", str(tmp_path / "whole"), *end]) == 0
    assert_close(Run(tmp_path / "killed").state, Run(tmp_path / "whole").state)


@pytest.mark.slow
def test_sigterm_at_one_saves_for_all_and_resumes_bit_for_bit(config, launch, tmp_path):
    stopped = launch(config, "--out", tmp_path / "run", "--steps", "100000", "--log.every", "10")
    stopped.wait_for("step 10/")
    os.kill(stopped.pid(1), signal.SIGTERM)
    assert stopped.status() == 75, stopped.said
    saved = Run(tmp_path / "run").step
    for index in (0, 1):
        assert f"[{index}] jaxgan: stopped by SIGTERM, saved at step {saved}" in stopped.said
    assert "ended in mid-run" not in stopped.said
    end = ("--steps", str(saved + 3), "--checkpoint.every", "1000")
    resumed = launch(config, "--out", tmp_path / "run", *end)
    assert resumed.status() == 0
    assert f"resuming at step {saved}" in resumed.said
    assert launch(config, "--out", tmp_path / "whole", *end).status() == 0
    digests = [state_sha256(Run(tmp_path / name).state) for name in ("whole", "run")]
    assert digests[0] == digests[1]


def test_a_mistake_is_found_by_all_before_training(config, launch, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("")
    run = launch(config, "--out", tmp_path / "full")
    assert run.status() == 2
    for index in (0, 1):
        assert f"[{index}] jaxgan: error: {tmp_path / 'full'} exists and holds no run" in run.said
    assert "Traceback" not in run.said


def local(*arguments, **variables):
    return subprocess.run(
        [LAUNCH / "local", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )


def test_local_ends_the_others_with_the_first_that_fails():
    script = "import sys, time; time.sleep(100 * int(sys.argv[-1])); sys.exit(3)"
    start = time.monotonic()
    ended = local("2", "1", sys.executable, "-c", script)
    assert ended.returncode == 3
    assert time.monotonic() - start < 20
    assert "process 0 ended with 3, so the others were ended" in ended.stderr


def test_local_tells_mistakes_and_prints_what_it_would_do():
    assert local("2").returncode == local("0", "1", "true").returncode == 2
    assert "nowhere" in local("1", "1", "nowhere").stderr
    assert local("3", "1", "false").returncode == 1
    lines = local("2", "4", "jaxgan", "train", "a b.py", DRY_RUN="1").stdout.splitlines()
    assert len(lines) == 2
    assert "--xla_force_host_platform_device_count=4" in lines[0]
    assert "jaxgan train 'a b.py' --coordinator 127.0.0.1:" in lines[1]
    assert lines[1].endswith("--processes 2 --process 1")


@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_scripts_are_sound(name):
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    checked = subprocess.run([checker, LAUNCH / name], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert subprocess.run(["bash", "-n", LAUNCH / name]).returncode == 0
    assert (LAUNCH / name).stat().st_mode & 0o111


def fields(known, value, where=""):
    """Refuses keys that are not in a tree of known ones; a list stands for its items."""
    for part in value if isinstance(value, list) else [value]:
        assert set(part) <= set(known), f"{where}: {set(part) - set(known)}"
        for key, inner in part.items():
            if isinstance(known[key], dict):
                fields(known[key], inner, f"{where}/{key}")


def leaves(*names, **trees):
    return {**dict.fromkeys(names), **trees}


JOBSET = leaves(
    "apiVersion",
    "kind",
    metadata=leaves("name", "annotations"),
    spec=leaves(
        failurePolicy=leaves(
            "maxRestarts",
            "restartStrategy",
            rules=leaves("name", "action", "onJobFailureReasons", "targetReplicatedJobs"),
        ),
        replicatedJobs=leaves(
            "name",
            "replicas",
            template=leaves(
                "metadata",
                spec=leaves(
                    "completionMode",
                    "parallelism",
                    "completions",
                    "backoffLimit",
                    podFailurePolicy=leaves(
                        rules=leaves(
                            "action", onExitCodes=leaves("containerName", "operator", "values")
                        )
                    ),
                    template=leaves(
                        "metadata",
                        spec=leaves(
                            "restartPolicy",
                            "terminationGracePeriodSeconds",
                            "nodeSelector",
                            containers=leaves(
                                "name",
                                "image",
                                "command",
                                "args",
                                "env",
                                ports=leaves("containerPort"),
                                resources=leaves("requests", "limits"),
                                volumeMounts=leaves("name", "mountPath"),
                            ),
                            volumes=leaves("name", persistentVolumeClaim=leaves("claimName")),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
"""Fields of jobset.x-k8s.io/v1alpha2, of a Job and of a Pod."""


def test_the_jobset_is_one_slice_that_is_whole():
    jobset = yaml.safe_load((LAUNCH / "gke.yaml").read_text())
    fields(JOBSET, jobset)
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    chips = np.prod([int(n) for n in pod["nodeSelector"][TOPOLOGY].split("x")])
    here = container["resources"]["limits"]["google.com/tpu"]
    assert job["completions"] == job["parallelism"] == chips / here
    assert job["completionMode"] == "Indexed"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert rule["onExitCodes"]["values"] == [1, 2, 74]
    assert pod["restartPolicy"] == "Never"  # what a podFailurePolicy asks for
    assert [v["name"] for v in pod["volumes"]] == [v["name"] for v in container["volumeMounts"]]
    assert (LAUNCH.parent / container["args"][0]).is_file()


TOPOLOGY = "cloud.google.com/gke-tpu-topology"

SKYPILOT = leaves(
    "name",
    "num_nodes",
    "envs",
    "workdir",
    "file_mounts",
    "setup",
    "run",
    resources=leaves(
        "infra",
        "accelerators",
        "use_spot",
        job_recovery=leaves("strategy", "max_restarts_on_errors"),
    ),
)


def test_the_skypilot_task_starts_a_process_a_machine(tmp_path):
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    fields(SKYPILOT, task)
    (tmp_path / "jaxgan").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    (tmp_path / "jaxgan").chmod(0o755)
    ran = subprocess.run(
        ["bash", "-eu", "-c", task["run"].replace("~/venv/bin", str(tmp_path))],
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "ARGS": "config.py --out /share/run",
            "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NODE_RANK": "1",
        },
    )
    join = ["--coordinator", "10.0.0.1:55527", "--processes", "2", "--process", "1"]
    assert ran.stdout.split() == ["train", "config.py", "--out", "/share/run", *join]
    subprocess.run(["bash", "-n", "-c", task["setup"]], check=True)


def script(name, *arguments, **variables):
    return subprocess.run(
        ["bash", LAUNCH / name, *arguments],
        capture_output=True,
        timeout=60,
        text=True,
        env={"PATH": os.environ["PATH"], **variables},
    )


TPU = {"NAME": "photos", "ZONE": "us-west4-a", "TYPE": "v6e-16", "SHARE": "10.0.0.2:/runs"}


def test_tpu_tells_what_it_would_do():
    assert "usage" in script("tpu", "a.py", **{**TPU, "NAME": ""}).stderr
    alone = {**TPU, "SHARE": ""}
    assert "hosts share no disk: give --out gs://" in script("tpu", "a.py", **alone).stderr
    bucket = script("tpu", "a.py", "--out=gs://bucket/run", DRY_RUN="1", **alone).stdout
    assert "jaxgan train a.py --out=gs://bucket/run" in bucket
    assert "10.0.0.2" not in bucket
    lines = script("tpu", "a b.py", "--out", "/mnt/share/x", DRY_RUN="1", **TPU).stdout.splitlines()
    assert "queued-resources create photos" in lines[0]
    assert "--accelerator-type=v6e-16 --runtime-version=v2-alpha-tpuv6e --spot" in lines[0]
    assert "jaxgan train a" in lines[-2]
    assert "queued-resources delete photos" in lines[-1]
    assert "--spot" not in script("tpu", "a.py", DRY_RUN="1", SPOT="", **TPU).stdout


GCLOUD = """#!/bin/bash
# A Cloud TPU whose slice is preempted in the first try: {folder}/tries counts.
echo "$*" >> {folder}/calls
case "$*" in
  *describe*) cat {folder}/state ;;
  *create*) echo ACTIVE > {folder}/state ;;
  *delete*) rm {folder}/state ;;
  *"jaxgan train"*)
    if [ -e {folder}/tried ]; then echo "jaxgan status {status}"; echo "jaxgan status {status}"
    else touch {folder}/tried; echo SUSPENDED > {folder}/state; exit 1; fi ;;
esac
"""


@pytest.mark.parametrize("status", [0, 2, 74])
def test_tpu_asks_again_when_the_slice_is_preempted(tmp_path, status):
    (tmp_path / "gcloud").write_text(GCLOUD.format(folder=tmp_path, status=status))
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for name in ("gcloud", "sleep"):
        (tmp_path / name).chmod(0o755)
    ended = script("tpu", "a.py", **{**TPU, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert ended.returncode == status, ended.stderr
    calls = (tmp_path / "calls").read_text()
    assert calls.count("queued-resources create") == 2
    assert calls.count("queued-resources delete") == 2  # the lost one, and at the end
    assert calls.count("jaxgan train a.py") == 2


@pytest.mark.parametrize(
    ("status", "queued"), [(0, False), (2, False), (74, False), (75, True), (134, False)]
)
def test_slurm_queues_again_what_was_saved(tmp_path, status, queued):
    (tmp_path / "srun").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/queued\n')
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended = script("slurm", "a.py", SLURM_JOB_ID="7", PATH=path)
    assert ended.returncode == status
    assert (tmp_path / "queued").exists() == queued
    assert ("resumes" in ended.stderr) == (status in (74, 134))
    assert ("mend it" in ended.stderr) == (status == 74)


def test_slurm_tells_what_it_would_do():
    assert script("slurm").returncode == 2
    line = script("slurm", "a.py", "--out", "x y", DRY_RUN="1").stdout
    assert line == "srun --kill-on-bad-exit=1 --label jaxgan train a.py --out x\\ y \n"
