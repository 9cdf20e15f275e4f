import json
import subprocess
import sys
from pathlib import Path

import pytest

import jaxgan
from jaxgan.cli import COMMANDS, main
from jaxgan.cli.parse import _ELSEWHERE


def test_usage_names_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--help"],
        ["bench", "--help"],
        ["plan", "-h"],
        ["sample", "--help"],
        ["translate", "--help"],
        ["edit", "runs/x", "--help"],
        ["info", "--help"],
        ["evaluate", "--help"],
        ["export", "--help"],
        ["data", "pack", "--help"],
        ["train", "configs/quickstart.py", "--help"],
        ["sample", "runs/x", "--help"],
        ["info", "configs/quickstart.py", "--help"],
        ["configs", "--help"],
    ],
)
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: jaxgan {arguments[0]}")
    assert "default: " in out


def test_help_without_a_config_lists_what_all_configs_have(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    assert out.startswith("usage: jaxgan train CONFIG|RUN ")
    assert "Iterations between checkpoints" in out
    assert "put a CONFIG before --help" in " ".join(out.replace("│", "").split())
    assert "--system.latent" not in out


def test_what_options_are_called_elsewhere_means_options_that_there_are():
    sources = "".join(path.read_text() for path in Path(jaxgan.__file__).parent.rglob("*.py"))
    for option in _ELSEWHERE:
        field = option.lstrip("-").split(".")[-1].replace("-", "_")
        assert f"    {field}: " in sources, option


def test_help_of_train_shows_units_and_the_configs_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["train", "configs/quickstart.py", "--help"])
    out = capsys.readouterr().out
    assert "--system.learning-rate" in out
    assert "default: mnist5k" in out
    assert "Iterations between checkpoints" in out


def test_configs_lists_all(capsys):
    assert main(["configs", "--json"]) == 0
    rows = {row["config"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["quickstart"]["system"] == "SNGAN"
    assert main(["configs"]) == 0
    assert "quickstart" in capsys.readouterr().out


def test_configs_that_ship_are_listed_by_name_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "--json"]) == 0
    rows = {row["config"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["quickstart"]["system"] == "SNGAN"
    assert main(["info", "quickstart", "--json"]) == 0
    assert "discriminator" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jaxgan 0.")


def test_only_the_command_keeps_garbage_collection_from_what_is_imported(tmp_path):
    seen = "import gc, jaxgan; print(gc.isenabled(), gc.get_freeze_count() > 0)"
    for name, frozen in (("jaxgan", True), ("script.py", False)):
        (tmp_path / name).write_text(seen)
        ran = subprocess.run(
            [sys.executable, tmp_path / name], capture_output=True, text=True, check=True
        )
        assert ran.stdout == f"True {frozen}\n"
