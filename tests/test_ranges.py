"""Numbers state their ranges, and nothing outside of them gets in by any door."""

import dataclasses
import importlib
import json
import pkgutil
from typing import Annotated, Literal

import numpy as np
import pytest

import jaxgan.systems
from jaxgan import cli, config, ranges
from jaxgan.config import (
    Checkpoint,
    Data,
    Evaluate,
    Experiment,
    Log,
    Mesh,
    from_json,
    load,
    to_json,
)
from jaxgan.errors import UserError
from jaxgan.parallel.distributed import Processes
from jaxgan.ranges import AtLeast, DecayRate, Positive, Rate, Seed, Stretch, Within, complaint
from jaxgan.system import System
from jaxgan.systems.dcgan import DCGAN
from jaxgan.systems.sngan import SNGAN


def systems() -> list[type[System]]:
    modules = pkgutil.walk_packages(jaxgan.systems.__path__, "jaxgan.systems.")
    found = {
        kind
        for module in map(importlib.import_module, [m.name for m in modules])
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, System)
    }
    return sorted(found, key=lambda kind: kind.__name__)


def options() -> list[type]:
    """Options of all commands: what they hand to `parse`."""
    found = []
    for name in cli.COMMANDS:
        module = importlib.import_module(f"jaxgan.cli.{name}{'_' if name == 'import' else ''}")
        with pytest.MonkeyPatch.context() as patch:

            def keep(kind, *_, **__):
                found.append(kind)
                raise SystemExit

            if not hasattr(module, "parse"):
                continue
            patch.setattr(module, "parse", keep)
            words = {"data": ["pack"], "import": ["x"], "export": ["x"]}.get(name, [])
            with pytest.raises(SystemExit):
                module.main([*words, "--help"])
    return found


def nested(kind: type) -> list[type]:
    inner = [hint for hint in ranges.fields_of(kind).values() if dataclasses.is_dataclass(hint)]
    bare = [getattr(hint, "__origin__", None) for hint in ranges.fields_of(kind).values()]
    return [kind, *inner, *(each for each in bare if dataclasses.is_dataclass(each))]


def test_every_number_of_systems_settings_and_commands_states_its_range():
    settings = [Data, Mesh, Checkpoint, Log, Evaluate, Experiment, Processes]
    commands = options()
    assert len(systems()) > 20
    assert len(commands) >= 12
    uses = {type(use.options) for name in ("singan",) for use in _singan().uses().values()}
    kinds = [*systems(), *settings, *commands, *(uses - {type(None)})]
    without = [
        f"{each.__module__}.{each.__name__}.{name}"
        for kind in kinds
        for each in nested(kind)
        for name, hint in ranges.fields_of(each).items()
        if None in ranges.numeric(hint)
    ]
    assert without == []


def _singan():
    from jaxgan.systems.singan import SinGAN

    return SinGAN()


def test_defaults_and_shipped_configs_are_within_their_ranges():
    for path in config.shipped_configs().glob("*.py"):
        assert isinstance(load(path), Experiment)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rate": -1}, "--system.learning-rate is -1: it must be above 0"),
        ({"learning_rate": 0.0}, "--system.learning-rate is 0: it must be above 0"),
        ({"learning_rate": float("nan")}, "--system.learning-rate is nan: it must be finite"),
        ({"learning_rate": 1e-60}, "it must be above 0, also in float32"),
        ({"learning_rate": 1e60}, "is 1e+60: it must be finite, also in float32"),
        ({"learning_rate": "1e-4"}, "is '1e-4': it must be a number"),
        ({"ema_decay": 2}, "--system.ema-decay is 2: it must be at least 0 and below 1"),
        ({"ema_decay": 0.99999999999}, "below 1, also in float32"),
        ({"latent": 1.5}, "--system.latent is 1.5: it must be a whole number"),
        ({"latent": True}, "--system.latent is True: it must be a whole number"),
        ({"latent": 2**40}, "it must be at most 2^31 - 1"),
        ({"shape": (8, -8, 1)}, "--system.shape has -8: it must be at least 1"),
        ({"shape": ()}, "--system.shape is empty"),
        ({"shape": 8}, "--system.shape is 8: it must be a tuple of numbers"),
        ({"betas": (0.5,)}, "it must be 2 numbers in a tuple"),
        ({"betas": (0.5, 1.0)}, "--system.betas has 1: it must be at least 0 and below 1"),
    ],
)
def test_a_system_refuses_what_its_fields_cannot_be(values, said):
    with pytest.raises(UserError) as error:
        DCGAN(**{"shape": (8, 8, 1), **values})
    assert said in str(error.value)


def test_the_check_comes_before_what_a_subclass_computes():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(DCGAN):
        ratio: Annotated[int, Within(1, 4)] = 1
        plain: float = 1.0
        word: Literal["a", "b"] = "a"

        def __post_init__(self):
            assert 12 / self.ratio > 1

    for values, said in (
        ({"ratio": 0}, "--system.ratio is 0: it must be from 1 to 4"),
        ({"plain": float("inf")}, "--system.plain is inf: it must be finite"),
    ):
        with pytest.raises(UserError, match=said):
            Mine(**values)
    assert dataclasses.replace(Mine(), ratio=2).ratio == 2
    with pytest.raises(UserError, match="ratio"):
        dataclasses.replace(Mine(), ratio=5)


def test_numpy_numbers_are_numbers():
    assert complaint(Positive, np.int64(4)) is None
    assert complaint(Rate, np.float32(1e-3)) is None
    assert complaint(Positive, np.float32(4.0)) is not None


def test_bounds():
    assert complaint(DecayRate, 0.0) is None
    assert complaint(Rate, 1e-30) is None
    assert complaint(Seed, 2**32 - 1) is None
    assert complaint(Seed, 2**32) == "is 4294967296: it must be from 0 to 2^32 - 1"
    assert complaint(Annotated[float, AtLeast(0.9)], 0.9) is None  # 0.9 is less in float32
    assert complaint(Annotated[float, Within(0, 1, above=True)], 0) == (
        "is 0: it must be above 0 and at most 1"
    )
    assert complaint(Positive | None, None) is None
    assert complaint(Positive | None, 0) == "is 0: it must be at least 1"
    assert complaint(Stretch, (5, 3)) == "is 5 3: the second number must be at least the first"
    assert complaint(Stretch, (3, 5)) is None
    assert complaint(str, -1) is None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("batch", 1.5, "config: batch is 1.5: it must be a whole number"),
        ("batch", "8", "config: batch is '8': it must be a whole number"),
        ("batch", 0, "config: --batch is 0: it must be at least 1"),
        ("system.learning_rate", -1, "config: --system.learning-rate is -1: it must be above 0"),
        ("system.shape", [8, 8.5, 1], "config: system.shape is 8.5: it must be a whole number"),
        ("system.shape", "881", "config: system.shape is '881': it must be a list"),
        ("data.flip", "false", "config: data.flip is 'false': it must be true or false"),
        ("data.crop", 0, "config: --crop is 0: it must be at least 1"),
    ],
)
def test_config_json_is_as_strict(path, value, said):
    facts = json.loads(to_json(Experiment(system=SNGAN(), data=Data(source="digits"))))
    *folders, name = path.split(".")
    place = facts
    for folder in folders:
        place = place[folder]
    place[name] = value
    with pytest.raises(UserError) as error:
        from_json(json.dumps(facts))
    assert str(error.value).startswith(said)


def parsed(*words):
    from jaxgan.cli.parse import parse

    network, digits = SNGAN(), Data(source="digits")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        system: SNGAN = network
        data: Data = digits
        steps: Positive = 1
        span: tuple[ranges.Number, ranges.Number] | None = None

    return parse(Options, list(words), prog="test", description="")


def test_numbers_as_people_type_them():
    assert parsed("--steps", "1e5").steps == 100_000
    for words in (("32,32,3",), ("32", "32", "3"), ("(32,", "32,", "3)"), ("[32,32,3]",)):
        assert parsed("--system.shape", *words).system.shape == (32, 32, 3)
    assert parsed("--data.crop", "none").data.crop is None
    assert parsed("--crop", "7").data.crop == 7
    assert parsed("--span", "-1", "2").span == (-1.0, 2.0)
    assert parsed("--span=-1,2").span == (-1.0, 2.0)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "1.5"], "--steps is 1.5: it must be a whole number"),
        (["--steps", "nan"], "--steps is nan: it must be a whole number"),
        (["--steps", "many"], "--steps is many: it must be a number"),
        (["--steps", "0"], "--steps is 0: it must be at least 1"),
        (["--steps"], "--steps has no value: give one"),
        (["--crop", "-3"], "--crop is -3: it must be at least 1"),
        (["--data.crop", "-3"], "--data.crop is -3: it must be at least 1"),
        (["--system.learning_rate=-1"], "--system.learning_rate is -1: it must be above 0"),
        (["--system.betas", "0.5"], "--system.betas is 0.5: give 2 numbers, such as 1 2"),
        (["--span", "1", "inf"], "--span has inf: it must be finite"),
        (["--span", "1"], "--span is 1: give 2 numbers, such as 1 2"),
        (["--system.decay", "5", "3"], "--system.decay is 5 3: the second number must be at"),
    ],
)
def test_messages_name_the_option_as_it_was_typed(monkeypatch, words, said, encoding):
    import io
    import sys

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(UserError) as error:
        parsed(*words)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_functions_in_python_are_checked(tmp_path):
    from jaxgan.training.step import init, make_step

    for call, said in (
        (lambda: init(DCGAN(), seed=-1), "seed is -1: it must be from 0 to 2^32 - 1"),
        (lambda: init(DCGAN(), seed=1.5), "seed is 1.5: it must be a whole number"),
        (lambda: make_step(DCGAN(), micro=0), "micro is 0: it must be at least 1"),
    ):
        with pytest.raises(UserError) as error:
            call()
        assert str(error.value) == said
