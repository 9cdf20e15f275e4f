"""A run's own code: kept with it, compared when it resumes, and run only where it is trusted."""

import dataclasses
import hashlib
import json
import shutil
import sys

import numpy as np
import pytest

import jaxgan
from jaxgan import UserError, code
from jaxgan.cli import main
from tests.toys import TinyGAN

CONFIG = """
import dataclasses
from jaxgan import Checkpoint, Data, Experiment, Log, Mesh
from nets import Base

@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Base):
    extra: float = 1.5

config = Experiment(system=Mine(width=4), data=Data(source="ring"), batch=8, steps=1,
    mesh=Mesh(data=1), checkpoint=Checkpoint(every=1), log=Log(samples=1000, grid=4))
"""
NETS = """
import dataclasses
from tests.toys import TinyGAN

@dataclasses.dataclass(frozen=True, kw_only=True)
class Base(TinyGAN):
    pass
"""


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a config, what it imports, and a run of it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_gan.py").write_text(CONFIG)
    (folder / "nets.py").write_text(NETS)
    assert main(["train", str(folder / "my_gan.py"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def mine(trained, tmp_path):
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """A user who has trained nothing, in a process that has run nothing."""
    monkeypatch.setattr(code, "_NAMED", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_run_keeps_its_code_with_hashes_and_opens_by_it(mine):
    run = mine / "run"
    facts = json.loads((run / "code.json").read_text())
    assert facts["files"] == {"my_gan.py": sha256(CONFIG), "nets.py": sha256(NETS)}
    assert facts["main"] == "my_gan.py"
    assert "tests.toys" in facts["modules"]
    assert {"jax", "jaxlib", "flax", "optax"} <= set(facts["packages"])
    assert (run / "code/nets.py").read_text() == NETS
    assert json.loads((run / "config.json").read_text())["system"]["type"] == "code/my_gan.py:Mine"
    (mine / "my_gan.py").unlink()
    (mine / "nets.py").unlink()
    opened = jaxgan.open(run)
    assert (type(opened.system).__name__, opened.system.width) == ("Mine", 4)
    assert type(opened.system) is type(jaxgan.open(run).system)
    assert opened.sample(3).shape == (3, 2)


def test_changed_code_is_refused_by_name_and_accepted_on_demand(mine, capsys):
    other = NETS.replace("pass", "more: int = 2")
    (mine / "nets.py").write_text(other)
    command = ["train", str(mine / "my_gan.py"), "--out", str(mine / "run"), "--steps", "2"]
    before = {p: p.read_bytes() for p in (mine / "run").rglob("*") if p.is_file()}
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "was trained with other code (code/nets.py has changed)" in told
    assert "give --accept-code" in told
    assert len(told.splitlines()) == 1
    assert before == {p: p.read_bytes() for p in (mine / "run").rglob("*") if p.is_file()}
    # The run's own goes on without asking.
    assert main(["train", str(mine / "run"), "--steps", "2"]) == 0
    assert main([*command[:-1], "3", "--accept-code"]) == 0
    assert (
        "goes on with other code from step 2 (code/nets.py has changed)" in capsys.readouterr().err
    )
    facts = json.loads((mine / "run/code.json").read_text())
    change = {"step": 2, "changed": {"code/nets.py": [sha256(NETS), sha256(other)]}}
    assert facts["accepted"] == [change]
    assert (mine / "run/code/nets.py").read_text() == other
    assert jaxgan.open(mine / "run").system.more == 2
    # Recorded, and not asked for again.
    assert main([*command[:-1], "3"]) == 0
    assert json.loads((mine / "run/code.json").read_text())["accepted"] == [change]


def test_a_received_run_runs_no_code_unless_trusted(mine, stranger, tmp_path, capsys):
    run = mine / "run"
    marker = tmp_path / "ran"
    evil = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n" + NETS
    (run / "code/nets.py").write_text(evil)
    facts = json.loads((run / "code.json").read_text())
    facts["files"]["nets.py"] = sha256(evil)
    (run / "code.json").write_text(json.dumps(facts))
    commands = (
        ["sample", str(run), "--out", str(tmp_path / "x.npz"), "--num", "2"],
        ["info", str(run)],
        ["info", str(run), "--compare", str(run)],
        ["apply", str(run), "generate", "--out", str(tmp_path / "y.npz")],
        ["apply", str(run)],
        ["export", str(run), "--out", str(tmp_path / "z")],
        ["translate", str(run), "a.png", "b.png"],
        ["evaluate", str(run)],
        ["train", str(run), "--steps", "5"],
    )
    for command in commands:
        assert main(command) == 2
        told = capsys.readouterr().err
        assert "carries code that was not trained here by you" in told, command
        assert "code/my_gan.py, code/nets.py" in told
        assert len(told.splitlines()) == 1
    assert main(["compare", str(run)]) == 2  # opens nothing
    assert "has no fid" in capsys.readouterr().err
    with pytest.raises(UserError, match="give --trust-code if you trust it"):
        jaxgan.open(run)
    assert not marker.exists()
    assert main([*commands[0], "--trust-code"]) == 0
    assert marker.exists()


def test_ones_own_run_needs_no_flag_and_what_was_changed_in_it_is_told(mine, stranger, capsys):
    run = mine / "run"
    assert main(["train", str(mine / "my_gan.py"), "--out", str(run)]) == 0
    code._NAMED.clear()  # as in another process
    assert type(jaxgan.open(run).system).__name__ == "Mine"
    (run / "code/nets.py").write_text(NETS + "\n# mine\n")
    for trust in (False, True):
        with pytest.raises(UserError, match=r"code/nets\.py is not what the run was trained with"):
            jaxgan.open(run, trust_code=trust)
    command = ["train", str(run), "--steps", "2", "--accept-code"]
    assert main(command) == 2
    assert "give --trust-code" in capsys.readouterr().err
    assert main([*command, "--trust-code"]) == 0
    assert jaxgan.open(run)
    (run / "code/nets.py").unlink()
    with pytest.raises(UserError, match=r"code/nets\.py, code of the run, cannot be read: No such"):
        jaxgan.open(run)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("x/evil.py:SNGAN", "no code that the run carries"),
        ("{folder}/evil.py:SNGAN", "give --trust-code to run that file"),
        ("evil_module:SNGAN", "would import it: give --trust-code"),
        ("evil_module.inner:SNGAN", "would import it: give --trust-code"),
        ("code/../evil.py:SNGAN", "no code that the run carries"),
        ("code/evil.py:SNGAN", "no code that the run carries"),
        ("jaxgan.systems.evil_module:SNGAN", "give --trust-code"),
        ("jaxgan.__main__:SNGAN", "give --trust-code"),
        ("jaxgan.systems.sngan:np.ndarray", r"no jaxgan\.System"),
        ("jaxgan.systems.sngan:SNGAN.__class__", r"no jaxgan\.System"),
        ("os:system", r"no jaxgan\.System"),
        (":SNGAN", "expected MODULE:CLASS"),
        ("SNGAN", "expected MODULE:CLASS"),
        ("\x1b[31m../x:SNGAN", "expected MODULE:CLASS"),
    ],
)
def test_types_are_looked_up_and_nothing_is_imported_to_see(
    mine, stranger, monkeypatch, kind, message
):
    for path in (mine / "evil.py", mine / "evil_module.py", mine / "run/evil.py"):
        path.write_text("raise SystemExit('it ran')")
    (mine / "run/code/evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(mine)
    facts = json.loads((mine / "run/config.json").read_text())
    facts["system"]["type"] = kind.format(folder=mine)
    (mine / "run/config.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=message):
        jaxgan.open(mine / "run")
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["files"].update({"../x.py": "0"}), "is no name of a file below code/"),
        (lambda f: f["files"].update({"/etc/passwd": "0"}), "is no name of a file below code/"),
        (lambda f: f["files"].update({"a\nb.py": "0"}), "is no name of a file below code/"),
        (lambda f: f["files"].update({f"{n}.py": "0" for n in range(2000)}), "too many"),
        (lambda f: f.update(main="none.py"), "lack its main one"),
        (lambda f: f.update(files=[]), "broken"),
        (lambda f: f.update(format=7), "of format 7"),
        (lambda f: f.update(more=1), "more"),
        (lambda f: f.update(accepted=[[1]]), "accepted"),
        (lambda f: f.pop("jaxgan"), "jaxgan"),
    ],
)
def test_a_broken_code_json_is_one_line_that_names_it(mine, change, message):
    facts = json.loads((mine / "run/code.json").read_text())
    change(facts)
    (mine / "run/code.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=message) as caught:
        jaxgan.open(mine / "run")
    assert "code.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_kept_no_code_is_told_and_kept_from_then_on(mine, stranger, capsys):
    run = mine / "run"
    (run / "code.json").unlink()
    shutil.rmtree(run / "code")
    facts = json.loads((run / "config.json").read_text())
    facts["system"]["type"] = f"{mine / 'my_gan.py'}:Mine"
    (run / "config.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="of a jaxgan that kept no code in runs, and names"):
        jaxgan.open(run)
    assert jaxgan.open(run, trust_code=True).system.width == 4
    assert main(["train", str(mine / "my_gan.py"), "--out", str(run)]) == 0
    assert "its code is kept from now on" in capsys.readouterr().err
    assert (run / "code/nets.py").read_text() == NETS


def test_other_versions_are_told(mine, capsys):
    path = mine / "run/code.json"
    facts = json.loads(path.read_text())
    facts["jaxgan"], facts["packages"]["jax"] = "0.0.1", "0.1.2"
    path.write_text(json.dumps(facts))
    assert main(["train", str(mine / "run")]) == 0
    told = capsys.readouterr().err
    assert "other versions (jaxgan 0.0.1 then, " in told
    assert "; jax 0.1.2 then, " in told


def test_modules_of_elsewhere_are_compared_too(mine, monkeypatch, capsys):
    path = mine / "run/code.json"
    facts = json.loads(path.read_text())
    facts["modules"]["tests.toys"] = "0" * 64
    path.write_text(json.dumps(facts))
    assert main(["train", str(mine / "run")]) == 2
    assert "other code (tests.toys has changed)" in capsys.readouterr().err


def test_data_that_a_config_makes_come_from_the_runs_own_code(mine, capsys):
    made = CONFIG.replace(
        "from nets import Base", "import numpy as np\nfrom tests.toys import TinyGAN as Base"
    )
    points = "np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)"
    made = made.replace('"ring"', points).replace("system=Mine(width=4)", "system=Base(width=4)")
    (mine / "arrays.py").write_text(made)
    run = mine / "of_arrays"
    assert main(["train", str(mine / "arrays.py"), "--out", str(run)]) == 0
    assert main(["train", str(run), "--steps", "2"]) == 0
    assert jaxgan.open(run).step == 2
    facts = json.loads((run / "config.json").read_text())
    assert facts["data"]["source"] == "python:ndarray"
    assert facts["system"]["type"] == "tests.toys:TinyGAN"
    with pytest.raises(UserError, match=r"were given in Python \(ndarray\), and a run keeps"):
        _ = jaxgan.open(run).data


def test_data_given_in_python_are_asked_for(mine, capsys):
    found = jaxgan.open(mine / "run").experiment
    data = dataclasses.replace(found.data, source=np.zeros((16, 2), np.float32))
    given = dataclasses.replace(found, system=TinyGAN(width=4), data=data)
    jaxgan.train(given, mine / "given")
    jaxgan.train(given, mine / "given")
    assert main(["train", str(mine / "given")]) == 2
    assert "trained on data given in Python (ndarray), which a run does not keep" in (
        capsys.readouterr().err
    )


def test_a_setting_that_cannot_be_read_back_is_refused_before_training(mine):
    text = CONFIG.replace("extra: float = 1.5", "extra: object = None")
    (mine / "my_gan.py").write_text(text)
    loaded, files = jaxgan.config.load_with_code(mine / "my_gan.py")
    system = dataclasses.replace(loaded.system, extra=1j)
    with pytest.raises(UserError, match="no number, text or tuple of such: 1j is a complex"):
        jaxgan.train(dataclasses.replace(loaded, system=system), mine / "new", code=files)
    assert not (mine / "new").exists()
