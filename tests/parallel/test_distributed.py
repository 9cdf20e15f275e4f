"""How processes find each other; what two of them do together is in of_two.py."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import jaxgan
from jaxgan import UserError
from jaxgan.cli import main
from jaxgan.parallel import distributed
from jaxgan.parallel.distributed import (
    Alarm,
    LastWords,
    Processes,
    Stopped,
    StopSignals,
    by_hand,
    detect,
)
from jaxgan.parallel.mesh import make_mesh
from jaxgan.run.open import Run
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.digest import state_sha256
from jaxgan.training.step import state_shapes
from tests.run.test_train import QUIET, experiment

HERE = Path(__file__).parent
LOCAL = HERE.parent.parent / "launch" / "local"

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
SRUN = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("env", "cluster"),
    [
        ({}, None),
        (SRUN, None),  # the batch script itself, which is no task
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "Cloud TPU"),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JOB_COMPLETION_INDEX": "0", **POD}, "Cloud TPU"),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, "Cloud TPU"),
        (POD, None),
        ({**POD, "JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
    ],
)
def test_clusters_are_told_by_their_variables(monkeypatch, env, cluster):
    find = distributed.importlib.util.find_spec
    monkeypatch.setattr(
        distributed.importlib.util,
        "find_spec",
        lambda name: None if name == "libtpu" else "there" if name == "kubernetes" else find(name),
    )
    assert detect(env) == cluster


@pytest.mark.parametrize(("endpoints", "cluster"), [("a:b:1,c:d:2", "Cloud TPU"), ("a", None)])
def test_a_tpu_vm_asks_the_metadata_server(monkeypatch, endpoints, cluster):
    import http.server
    import threading

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path.endswith("/attributes/worker-network-endpoints")
            self.send_response(200 if known and self.headers["Metadata-Flavor"] else 404)
            self.end_headers()
            self.wfile.write(endpoints.encode())

        def log_message(self, *args):
            pass

    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: "there")
    monkeypatch.setattr(distributed.glob, "glob", lambda pattern: ["/dev/accel0"])
    with http.server.HTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        assert detect({"GCE_METADATA_IP": host}) == cluster
        assert detect({"GCE_METADATA_IP": host, "TPU_SKIP_MDS_QUERY": "1"}) is None
        server.shutdown()
    assert detect({"GCE_METADATA_IP": host}) is None


def test_a_kubernetes_job_without_its_client_is_told(monkeypatch):
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jax\[k8s\]"):
        detect({**POD, "JOB_COMPLETION_INDEX": "0"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coordinator", "a:1"], "--coordinator without --processes and --process: give all"),
        (["--processes", "2", "--process", "0"], "--processes and --process without --coordinator"),
        (["--coordinator", "a", "--processes", "2", "--process", "0"], "expected HOST:PORT"),
        (["--coordinator", "a:1", "--processes", "2", "--process", "2"], "counted from 0"),
        (["--coordinator", "a:1", "--processes", "0", "--process", "0"], "counted from 0"),
    ],
)
def test_half_a_set_of_options_is_told_in_one_line(tmp_path, capsys, options, message):
    out = tmp_path / "run"
    assert main(["train", "configs/gan_ring.py", "--out", str(out), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
    assert not out.exists()


def test_alone_nothing_is_joined():
    assert not by_hand(Processes())
    assert not by_hand(Processes(processes=1))
    assert by_hand(Processes(coordinator="a:1", processes=2, process=1))
    distributed.start(Processes())
    distributed.start(Processes(processes=1))
    assert not distributed.jax.distributed.is_initialized()


def test_an_interrupt_says_what_is_saved_and_a_second_one_does_not_wait(capfd):
    with StopSignals(end=5) as stop:
        assert stop.at(3) is None
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err.startswith("jaxgan: SIGINT: saving, step 4;")
        assert stop.at(4) == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with StopSignals(end=5) as stop:
        stop.at(5)
        os.kill(os.getpid(), signal.SIGTERM)
        assert "SIGTERM: saving, step 5\n" in capfd.readouterr().err


def test_before_the_first_iteration_there_is_nothing_to_save():
    with StopSignals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    with StopSignals(), pytest.raises(Stopped, match="SIGTERM, before the first iteration"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_alarm_rings_by_the_clock_of_process_0_at_the_same_steps(monkeypatch):
    """Two processes, one after the other: what the first broadcasts is what the second hears."""
    now, sent = 0.0, []
    monkeypatch.setattr(distributed.time, "monotonic", lambda: now)
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    ways = {"broadcast_one_to_all": lambda mine: sent.append(mine) or mine}
    monkeypatch.setattr(distributed, "multihost_utils", SimpleNamespace(**ways))
    first = Alarm(1)
    rung = []
    for step in range(1, 1001):  # half a second each
        now += 0.5
        if first.at(step):
            rung.append(step)
            first.reset()
    assert len(rung) == 8  # in 500 seconds
    assert all(120 <= b - a <= 130 for a, b in zip([0, *rung], rung, strict=False))
    assert 80 <= len(sent) <= 120  # asked about every five seconds, not at every step
    now, answers = 0.0, iter(sent)
    ways["broadcast_one_to_all"] = lambda mine: next(answers)
    monkeypatch.setattr(distributed, "multihost_utils", SimpleNamespace(**ways))
    second = Alarm(1)
    heard = []
    for step in range(1, 1001):
        now += 0.001  # its own clock says nothing
        if second.at(step):
            heard.append(step)
            second.reset()
    assert heard == rung
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 1)
    assert not Alarm(0).at(1)


def test_processes_that_were_given_other_things_are_told_which(monkeypatch):
    def told(mine):
        other = mine.split()
        other[1] = "0" * 16
        return [mine, " ".join(other)]

    monkeypatch.setattr(distributed, "told", told)
    with pytest.raises(UserError, match="process 1 was given other batch than process 0"):
        distributed.agree({"steps": 3, "batch": 8, "--out": "runs/a"})
    monkeypatch.setattr(distributed, "told", lambda mine: [mine, mine])
    distributed.agree({"steps": 3})


LAST = "jaxgan: process 0 of 2 ended in mid-run; the same command resumes from {}/20\n"


@pytest.fixture
def checkpoints(tmp_path):
    for name in ("5", "20", "100.orbax-checkpoint-tmp", "readme"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_who_leaves_in_order_has_no_last_words(checkpoints, monkeypatch, capfd):
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    with LastWords(checkpoints):
        pass
    with pytest.raises(KeyError), LastWords(checkpoints, unless=(KeyError,)):
        raise KeyError
    assert capfd.readouterr().err == ""


def test_last_words_are_said_of_an_aborted_process(checkpoints):
    """The runtime ends the processes that outlive another in this way: no handler runs."""
    script = (
        "import os, jax, pathlib, sys\n"
        "from jaxgan.parallel.distributed import LastWords\n"
        "jax.process_count = lambda: 2\n"
        f"with LastWords(pathlib.Path({str(checkpoints)!r})):\n"
        "    os.abort()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == -signal.SIGABRT
    assert LAST.format(checkpoints) in ended.stderr


def test_one_process_has_no_last_words(tmp_path):
    with LastWords(tmp_path) as words:
        assert words._shell is None


OVER = (None, 1, 2)  # all devices, none, two of them


def test_what_two_processes_do_together(tmp_path):
    """See of_two.py; and what two saved is what one reads, bit for bit, and the reverse."""
    run = jaxgan.train(experiment(steps=6), tmp_path / "run", console=QUIET)
    digest = state_sha256(run.state)
    told = subprocess.run(
        [LOCAL, "2", "2", sys.executable, HERE / "of_two.py", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert told.returncode == 0, told.stdout
    for line in ("[0] all well", "[1] all well", *(f"fsdp {n} has {digest}" for n in OVER)):
        assert line in told.stdout
    like = state_shapes(Run(tmp_path / "run").system, make_mesh(1))
    for name in (f"again{n}" for n in OVER):
        with Checkpoints(tmp_path / name / "checkpoints") as reader:
            assert state_sha256(reader.restore(like)) == digest
