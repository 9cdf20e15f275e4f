"""How processes find each other; what two of them do together is in of_two.py."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import jaxgan
from jaxgan import UserError
from jaxgan.cli import main
from jaxgan.parallel import distributed
from jaxgan.parallel.distributed import LastWords, Processes, StopSignals, by_hand, detect
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


def test_a_second_interrupt_does_not_wait():
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.at(1) == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


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
    for line in ("[0] all well", "[1] all well", f"fsdp 1 has {digest}", f"fsdp 2 has {digest}"):
        assert line in told.stdout
    like = state_shapes(Run(tmp_path / "run").system, make_mesh(1))
    for name in ("again1", "again2"):
        with Checkpoints(tmp_path / name / "checkpoints") as reader:
            assert state_sha256(reader.restore(like)) == digest
