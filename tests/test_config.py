import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jaxgan import Data, Experiment, Log, UserError, config
from jaxgan.systems.progan import ProGAN
from jaxgan.systems.sngan import SNGAN
from tests.toys import TinyGAN


def experiment(**changes):
    return Experiment(
        system=SNGAN(classes=10, generator_channels=(8, 4)),
        data=Data(source="digits", resize=True),
        log=Log(every=7),
        **changes,
    )


def test_json_round_trip_keeps_every_field_and_the_systems_class():
    original = experiment(batch=3, micro=3, seed=5)
    text = config.to_json(original)
    assert json.loads(text)["system"]["type"] == "jaxgan.systems.sngan:SNGAN"
    assert config.from_json(text) == original


def test_a_system_from_a_config_file_is_found_again(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import dataclasses\n"
        "from tests.toys import TinyGAN\n"
        "from jaxgan import Data, Experiment\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class Mine(TinyGAN):\n"
        "    extra: float = 1.5\n"
        "config = Experiment(system=Mine(extra=2.5), data=Data(source='ring'))\n"
    )
    original = config.load(file)
    text = config.to_json(original)
    assert json.loads(text)["system"]["type"] == "code/mine.py:Mine"
    restored = config.from_json(text, lambda name: type(original.system))
    assert restored == original
    assert restored.system.extra == 2.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(bacth=1), "bacth"),
        (lambda d: d["system"].update(latnet=1), "latnet"),
        (lambda d: d["system"].update(type="jaxgan.systems.sngan:Nothing"), r"no jaxgan\.System"),
        (lambda d: d["system"].update(type="pathlib:Path"), r"no jaxgan\.System"),
        (lambda d: d["system"].update(type="jaxgan.systems.sngan:System"), "no jaxgan"),
        (lambda d: d["system"].update(type="antigravity:SNGAN"), "is not imported"),
        (lambda d: d["system"].update(type="jaxgan.__main__:SNGAN"), "is not imported"),
        (lambda d: d["system"].update(type="jaxgan.systems.sngan"), "is not imported"),
        (lambda d: d["system"].update(type=["x"]), 'which has a "type"'),
        (lambda d: d["system"].pop("type"), 'which has a "type"'),
        (lambda d: d.update(batch="many"), "batch"),
        (lambda d: d.update(batch="12"), "batch is '12': it must be a whole number"),
        (lambda d: d.update(batch=12.5), r"batch is 12\.5: it must be"),
        (lambda d: d.update(batch=True), "batch is True: it must be"),
        (lambda d: d["data"].update(flip="false"), "flip is 'false': it must be true or false"),
        (lambda d: d["data"].update(flip=0), "flip is 0: it must be"),
        (lambda d: d["data"].update(source={"image": [1]}), "it must be text"),
        (lambda d: d["data"].update(source="a" * 10, columns="image=x"), "columns"),
        (lambda d: d.update(batch=0), "--batch is 0"),
        (lambda d: d["system"].update(latent=float("nan")), "NaN is no number"),
        (lambda d: d.update(seed=10**30), "too large a number"),
        (lambda d: d.pop("data"), "data"),
    ],
)
def test_json_is_read_strictly(change, message):
    facts = json.loads(config.to_json(experiment()))
    change(facts)
    with pytest.raises(UserError, match=message) as caught:
        config.from_json(json.dumps(facts))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [None, 1, 3, "2"])
def test_another_format_is_refused(number):
    facts = json.loads(config.to_json(experiment()))
    assert next(iter(facts.items())) == ("format", 2)
    del facts["format"]
    if number is not None:
        facts["format"] = number
    found = repr(number or 1)
    with pytest.raises(UserError, match=f"of format {found}, but this jaxgan reads format 2"):
        config.from_json(json.dumps(facts))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"format": 2, "format": 2}', "'format' stands there twice"),
        ('{"a": 1e999}', "1e999 is too large a number"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 80 + "]" * 80, "nested too deeply"),
        ("9" * 5000, "too large a number"),
        (b'{"a": "\xff"}', "no UTF-8 at byte 7"),
        ("3", "must be an object"),
    ],
)
def test_broken_json_is_told(text, message):
    with pytest.raises(UserError, match=message) as caught:
        config.from_json(text)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_mistake():
    text = config.to_json(experiment())
    assert config.from_json(b"\xef\xbb\xbf" + text.encode()) == experiment()


def test_differences_name_what_changes_the_result_and_nothing_else():
    a = experiment()
    free = dataclasses.replace(a, steps=1, log=Log(every=1), mesh=config.Mesh(data=2))
    assert list(config.differences(free, a)) == []
    other = dataclasses.replace(a, batch=8, system=dataclasses.replace(a.system, latent=3))
    assert list(config.differences(other, a)) == [
        "system.latent: 3 here, 128 in the run",
        "batch: 8 here, 64 in the run",
    ]
    assert list(config.differences(dataclasses.replace(a, system=TinyGAN()), a)) == [
        "system: TinyGAN here, SNGAN in the run"
    ]


def test_jitter_and_stages_of_several_sizes_exclude_each_other():
    with pytest.raises(UserError, match="stages of several sizes"):
        Experiment(system=ProGAN(shape=(8, 8, 1)), data=Data(source="digits", jitter=10))


@pytest.mark.parametrize("name", ["quickstart", "quickstart.py", "configs/quickstart.py"])
def test_shipped_configs_are_known_by_name_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert config.load(name).data.source == "mnist5k"
    assert config.find("other/quickstart.py") is None
    with pytest.raises(UserError, match=r"no config quikstart; did you mean quickstart\?"):
        config.load("quikstart")
    with pytest.raises(UserError, match=r"no config xyzzy; `jaxgan configs` lists them"):
        config.load("xyzzy")
    # One's own file of that name comes first.
    (tmp_path / "quickstart.py").write_text("")
    if name == "quickstart.py":
        with pytest.raises(UserError, match="must set config"):
            config.load(name)


def test_the_wheel_holds_the_configs_and_says_that_it_is_typed(tmp_path):
    root = Path(config.__file__).parents[1]
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", *command, str(root)], check=True, capture_output=True)
    (built,) = tmp_path.glob("jaxgan-*.whl")
    with zipfile.ZipFile(built) as wheel:
        assert "jaxgan/py.typed" in wheel.namelist()
        names = [name for name in wheel.namelist() if name.endswith(".py")]
        wheel.extractall(tmp_path / "installed")
    assert {path.name for path in (root / "configs").glob("*.py")} == {
        Path(name).name for name in names if name.startswith("jaxgan/configs/")
    }
    (tmp_path / "empty").mkdir()
    found = subprocess.run(
        [sys.executable, "-c", "from jaxgan.config import find; print(find('quickstart'))"],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == tmp_path / "installed/jaxgan/configs/quickstart.py"


def test_a_missing_config_names_the_nearest(tmp_path):
    (tmp_path / "quickstart.py").write_text("")
    with pytest.raises(UserError, match=r"did you mean .*quickstart\.py"):
        config.load(tmp_path / "quikstart.py")
    with pytest.raises(UserError, match=r"must set config = "):
        config.load(tmp_path / "quickstart.py")
