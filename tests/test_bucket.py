"""Runs and data in a bucket, against an emulator of Google Cloud Storage on this machine."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import UserError, bucket
from jaxgan.cli.out import check_out
from jaxgan.data import Packed, fingerprint, open_source, pack
from jaxgan.data.copies import on_disk
from jaxgan.files import writing
from jaxgan.training.digest import state_sha256

pytest.importorskip("gcp_storage_emulator")
pytestmark = pytest.mark.filterwarnings("ignore")  # the emulator's and gcsfs's own


@pytest.fixture(scope="module")
def emulator():
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server

    download = objects.download

    def with_generation(request, response, storage, *args, **kwargs):
        """As Google answers, and as tensorstore reads it."""
        download(request, response, storage, *args, **kwargs)
        with contextlib.suppress(Exception):
            place = request.params["bucket_name"], request.params["object_id"]
            response["x-goog-generation"] = storage.get_file_obj(*place)["generation"]

    objects.download = with_generation
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    server = create_server("localhost", port, in_memory=True, default_bucket="bucket")
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    server.start()
    url = f"http://localhost:{port}"
    yield {
        "STORAGE_EMULATOR_HOST": url,
        "TENSORSTORE_GCS_HTTP_URL": url,
        "GOOGLE_CLOUD_PROJECT": "none",
    }
    server.stop()


@pytest.fixture
def cloud(emulator, monkeypatch, tmp_path):
    for name, value in {**emulator, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    place = bucket.as_path(f"gs://bucket/{tmp_path.name}")
    yield place
    with contextlib.suppress(Exception):
        place.rmtree()


def test_paths_of_buckets_are_known(cloud):
    assert bucket.in_bucket("gs://bucket/run")
    assert not bucket.in_bucket("gs/run")
    assert str(bucket.as_path("gs:/bucket/run/")) == "gs://bucket/run"  # what pathlib makes of it
    assert str(bucket.as_path("~/x")) == os.path.expanduser("~/x")


def test_a_folder_is_copied_once_and_again_where_it_changed(cloud, caplog):
    (cloud / "cats" / "a.txt").write_text("one")
    (cloud / "cats" / "b.txt").write_text("two")
    (cloud / "dogs" / "c.txt").write_text("three")
    here = on_disk(str(cloud))
    assert "in 3 files to" in caplog.text
    assert {p.relative_to(here).as_posix(): p.read_text() for p in here.rglob("*.txt")} == {
        "cats/a.txt": "one",
        "cats/b.txt": "two",
        "dogs/c.txt": "three",
    }
    caplog.clear()
    assert on_disk(str(cloud)) == here
    assert not caplog.text  # nothing was copied
    (cloud / "cats" / "a.txt").write_text("ONE")  # of the same size
    (cloud / "dogs" / "c.txt").unlink()
    (here / "cats" / "b.txt").write_text("cut")  # somebody's mistake, of the same size: not seen
    (here / "cats" / "b.txt").write_text("longer")
    on_disk(str(cloud))
    assert "in 2 files to" in caplog.text
    assert {p.name: p.read_text() for p in here.rglob("*.txt")} == {"a.txt": "ONE", "b.txt": "two"}


def test_a_single_object_is_copied_too(cloud):
    (cloud / "x.bin").write_bytes(b"123")
    assert on_disk(f"{cloud}/x.bin").read_bytes() == b"123"


def test_what_is_not_there_is_told(cloud):
    with pytest.raises(UserError, match="gs://bucket/nowhere: there is nothing of that name"):
        on_disk("gs://bucket/nowhere")
    with pytest.raises(UserError, match="nothing of that name, or no such bucket"):
        on_disk("gs://no-such-bucket/x")


def test_more_than_the_disk_holds_is_refused_before_copying(cloud, monkeypatch):
    (cloud / "x.bin").write_bytes(b"123")
    usage = type("Usage", (), {"free": 2})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"0\.0 GiB are free: make room, or set XDG_CACHE_HOME"):
        on_disk(str(cloud))


def test_without_credentials_one_line_says_what_to_do(monkeypatch, caplog):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(UserError, match="gcloud auth application-default login"):
        bucket.as_path("gs://other/run")
    assert not caplog.records  # what the library warns of is said once


def test_data_in_a_bucket_are_data(cloud, tmp_path):
    for name, value in {"cats/a.png": 10, "dogs/b.png": 200}.items():
        here = tmp_path / "image.png"
        Image.new("L", (4, 4), value).save(here)
        (cloud / "images" / name).write_bytes(here.read_bytes())
    source = open_source(f"{cloud}/images")
    assert source.classes == ("cats", "dogs")
    assert [item["image"][0, 0, 0] for item in (source[0], source[1])] == [10, 200]
    both = open_source(f"unpaired:{cloud}/images/cats,{cloud}/images/dogs")
    assert [len(each) for each in both.sets] == [1, 1]
    assert open_source(f"image:{cloud}/images/cats/a.png")[0]["image"].shape == (4, 4, 1)
    pack("digits", tmp_path / "packed", shard_images=1000)
    for path in (tmp_path / "packed").iterdir():
        (cloud / "packed" / path.name).write_bytes(path.read_bytes())
    packed = open_source(f"{cloud}/packed")
    assert isinstance(packed, Packed)
    assert fingerprint(packed) == fingerprint(open_source(str(tmp_path / "packed")))


@pytest.mark.parametrize("early", [True, False])
def test_other_commands_write_no_folder_called_gs(tmp_path, early, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path("gs://bucket/x.png")
    with pytest.raises(UserError, match=r"is gs://bucket/x\.png: only `jaxgan train` writes"):
        check_out(place, {}) if early else writing(place).__enter__()
    assert not list(tmp_path.iterdir())


def test_a_staged_folder_is_kept_whole(cloud):
    (cloud / "rows").write_text("1\n")
    with bucket.Staged(cloud) as staged:
        with (staged.here / "rows").open("a") as rows:
            rows.write("2\n")
        staged.keep(now=False)
        assert (cloud / "rows").read_text() == "1\n"  # it is not time yet
        staged.keep()
        assert (cloud / "rows").read_text() == "1\n2\n"
        (staged.here / "samples").mkdir()
        (staged.here / "samples" / "1.png").write_bytes(b"png")
    assert (cloud / "samples" / "1.png").read_bytes() == b"png"
    here = staged.here
    del staged
    assert not here.exists()


def test_on_a_disk_a_staged_folder_is_the_folder(tmp_path):
    with bucket.Staged(tmp_path) as staged:
        assert staged.here == tmp_path


def test_a_folder_is_one_process_s(cloud, monkeypatch):
    monkeypatch.setattr(bucket, "_BEAT", 0.2)
    with (
        bucket.Lease(cloud / ".lock"),
        pytest.raises(UserError, match="is being trained by another process"),
    ):
        bucket.Lease(cloud / ".lock")
    assert not (cloud / ".lock").exists()
    (cloud / ".lock").write_text("of a process that was killed")
    monkeypatch.setattr(bucket, "_SILENT", 1.5)
    with bucket.Lease(cloud / ".lock"):
        assert "killed" not in (cloud / ".lock").read_text()


TRAIN = (
    *("train", "gan_ring", "--batch", "16", "--seed", "3", "--checkpoint.every", "40"),
    *("--system.generator-hidden", "8", "--system.discriminator-hidden", "8", "--log.every", "10"),
)


def command(environment, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "jaxgan", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_run_in_a_bucket_is_killed_and_goes_on_as_on_a_disk(emulator, cloud, tmp_path):
    out = f"{cloud}/run"
    killed = command(emulator, *TRAIN, "--steps", "1000000", "--out", out)
    while not (cloud / "run" / "checkpoints" / "80").exists():
        assert killed.poll() is None, killed.stdout.read()
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (cloud / "run" / ".lock").unlink()  # else the next one waits a minute for it
    steps = max(int(path.name) for path in (cloud / "run" / "checkpoints").iterdir()) + 40
    resumed = command(emulator, *TRAIN, "--steps", steps, "--out", out)
    plain = command(emulator, *TRAIN, "--steps", steps, "--out", tmp_path / "run")
    said = resumed.communicate()[0]
    assert resumed.returncode == 0, said
    assert "resuming at step" in said
    plain.communicate()
    run = jaxgan.open(out)
    assert run.step == steps
    assert state_sha256(run.state) == state_sha256(jaxgan.open(tmp_path / "run").state)
    rows = [json.loads(row) for row in (cloud / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == steps
    assert len({row["step"] for row in rows}) == len(rows)
    assert (cloud / "run" / "samples" / f"{steps:08d}.png").exists()
    assert not (cloud / "run" / ".lock").exists()
    drawn = command(emulator, "sample", out, "--num", "4", "--out", tmp_path / "points.npz")
    assert drawn.wait() == 0, drawn.stdout.read()
    assert np.load(tmp_path / "points.npz")["images"].shape == (4, 2)
