import json

import pytest

from jaxgan.cli import COMMANDS, main


def test_usage_names_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--help"],
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
    assert capsys.readouterr().out.startswith("usage: jaxgan")


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


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jaxgan 0.")
