"""An experiment: frozen dataclasses, to and from JSON, from files and from the command line."""

import dataclasses
import difflib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

import cattrs
import numpy as np
import tyro
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from jaxgan import code, schema
from jaxgan.augment import parse_policy
from jaxgan.errors import UserError, nearest, printable
from jaxgan.fields import Framing
from jaxgan.fields.pixels import MAX_PIXELS, Reading
from jaxgan.ranges import AtLeast, Count, Positive, Ranged, Rate, Seed, Within
from jaxgan.system import System, data_fields, stages_of

FREE = {"changes_result": False}
"""Metadata of fields that a resumed run may change: they leave the numbers as they are."""

FORMAT = 2
"""Of config.json. It grows when a file of the last one would be misread. Files of format 1 have no
number."""


PYTHON = "python:"
"""What the names of data begin with that were given in Python and have none."""


def source_name(source: Any) -> str:
    """What a data source is called: its name, or what it is, where it was given in Python."""
    if isinstance(source, str):
        return source
    if isinstance(name := getattr(source, "name", None), str):
        return name
    return f"{PYTHON}{getattr(source, '__qualname__', type(source).__name__)}"


_NAME = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="DATA",
    instance_from_str=lambda words: words[0],
    is_instance=lambda value: True,
    str_from_instance=lambda source: [source_name(source)],
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(Ranged):
    """What to learn from."""

    flags: ClassVar[str] = "--data."

    source: Annotated[Any, _NAME, tyro.conf.arg(aliases=["--data"])]
    """mnist5k, digits, ring, grid, tfds:NAME[:SPLIT], hf:NAME[:SPLIT], or a folder of images (flat,
    or a sub-folder a class), or a .zip, .tar, .npz or .parquet file of them; image:FILE,
    image:china or image:flower; photos:SET; emoji:FOLDER; moving_digits, moving_shapes,
    clips:FOLDER or frames:FOLDER for systems of clips; for systems that translate,
    pairs:FOLDER[:BtoA], edges:DATA, or unpaired:DATA,DATA. In Python also arrays, any
    `jaxgan.data.Source`, or a function of the step to its batch."""
    columns: tuple[str, ...] = ()
    """What the data call otherwise than the system does, such as image=photo."""
    crop: Annotated[Positive | None, tyro.conf.arg(aliases=["--crop"])] = None
    """Side of a centre crop taken first, pixels; None: no crop."""
    resize: Annotated[bool, tyro.conf.arg(aliases=["--resize"])] = False
    """Resize the shorter side to the system's resolution, then cut the centre."""
    flip: Annotated[bool, tyro.conf.arg(aliases=["--flip"])] = False
    """Mirror every other image, at random."""
    jitter: Annotated[Positive | None, tyro.conf.arg(aliases=["--jitter"])] = None
    """Height to which images are brought first, pixels; the system's resolution is then cut out at
    a random place. None: do not."""
    stride: Annotated[Positive, tyro.conf.arg(aliases=["--stride"])] = 1
    """Which frames of longer clips are taken: every one, every second, ..."""
    fps: Rate | None = None
    """Frames a second that are taken of videos and animations; None: all that they have."""
    recursive: Annotated[bool, tyro.conf.arg(aliases=["--recursive"])] = False
    """Read folders within sub-folders too: the first level are the classes."""
    skip_broken: Annotated[bool, tyro.conf.arg(aliases=["--skip-broken"])] = False
    """Leave out damaged files, and list them in the run's folder."""
    workers: Count = dataclasses.field(default=0, metadata=FREE)
    """Processes that decode images; 0: threads of this one."""
    max_pixels: Positive = dataclasses.field(default=MAX_PIXELS, metadata=FREE)
    """Height times width of the largest image that is decoded: larger ones may be made to fill the
    memory."""

    def __post_init__(self) -> None:
        if bad := [pair for pair in self.columns if not all(pair.partition("="))]:
            raise UserError(f"--data.columns has {bad[0]!r}: give NAME=COLUMN, such as image=photo")

    @property
    def framing(self) -> Framing:
        """How items of other sizes are brought to the system's."""
        return Framing(resize=self.resize, crop=self.crop, jitter=self.jitter, stride=self.stride)

    @property
    def reading(self) -> Reading:
        """How files are read."""
        return Reading(
            max_pixels=self.max_pixels,
            recursive=self.recursive,
            skip_broken=self.skip_broken,
            fps=self.fps,
        )

    @property
    def renames(self) -> dict[str, str]:
        """{the system's name: the data's}, of `columns`."""
        return dict(pair.split("=", 1) for pair in self.columns)

    @property
    def name(self) -> str:
        """Of the source, as it is kept in a run."""
        return source_name(self.source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh(Ranged):
    """How the devices are laid out."""

    flags: ClassVar[str] = "--mesh."

    data: Annotated[int, Within(-1, 2**20)] = -1
    """Devices along the axis `data`, over which batches are split; -1: all that are left."""
    fsdp: Positive | None = None
    """Devices along the axis `fsdp`, over which batches are split, too, and over which parameters
    lie in shares; 1: they lie whole on every device; None: `data` counts all devices, and
    parameters lie in shares over all of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint(Ranged):
    """When the whole State is saved."""

    flags: ClassVar[str] = "--checkpoint."

    every: Positive = 1000
    """Iterations between checkpoints; there is always one at the end."""
    minutes: Annotated[float, AtLeast(0)] = 10.0
    """Minutes after which there is one in any case, so that a kill never costs more; 0: none."""
    keep: Positive = 3
    """Latest checkpoints that stay on disk."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log(Ranged):
    """What is written while training."""

    flags: ClassVar[str] = "--log."

    every: Positive = 50
    """Iterations between rows of metrics."""
    samples: Positive = 500
    """Iterations between sample grids; there is always one at the end."""
    grid: Positive = 64
    """Images in a sample grid; systems that translate show a row for every eight of them."""
    to: str = "tensorboard"
    """Programs that show the run, with commas: tensorboard, wandb (offline, unless WANDB_MODE is
    online)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(Ranged):
    """When generated images are scored against the data, while training."""

    flags: ClassVar[str] = "--evaluate."

    every: Count = 0
    """Iterations between evaluations, and there is one at the end; 0: none. The best checkpoint by
    the first metric is kept, beside the latest."""
    metrics: str = "fid"
    """With commas, as `jaxgan evaluate` takes them."""
    num: Positive = 10_000
    """Images drawn for each."""
    extractor: str | None = None
    """Network, as `jaxgan evaluate` takes it; weights lie where JAXGAN_WEIGHTS says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Ranged):
    """A system, its data and how it is trained."""

    system: System
    data: Data
    batch: Positive = 64
    """Images a draw, over all devices."""
    steps: Positive = dataclasses.field(default=10_000, metadata=FREE)
    """Iterations: each lets every player move in turn."""
    micro: Positive = 1
    """Micro-batches that an update accumulates; they divide the batch."""
    seed: Seed = 0
    """Of everything random: start, data order, latents."""
    augment: str = ""
    """What discriminators see all images augmented by, for small data: color, translation, cutout,
    with commas."""
    init: str | None = None
    """Run whose weights, averages and statistics this one begins with, at step 0 and with fresh
    optimisers; None: from scratch."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are: NETWORK, or NETWORK:PATH, where PATH begins theirs or is a
    glob, such as discriminator:block_0 (FreezeD)."""
    mesh: Mesh = dataclasses.field(default=Mesh(), metadata=FREE)
    checkpoint: Checkpoint = dataclasses.field(default=Checkpoint(), metadata=FREE)
    log: Log = dataclasses.field(default=Log(), metadata=FREE)
    evaluate: Evaluate = dataclasses.field(default=Evaluate(), metadata=FREE)

    def __post_init__(self) -> None:
        if self.init is not None:
            object.__setattr__(self, "init", str(self.init))  # a path, in Python
        seen = any(field.extent for field in data_fields(self.system).values())
        if parse_policy(self.augment) and not seen:
            raise UserError(
                f"--augment is {self.augment}, but {type(self.system).__name__} has no "
                "discriminator of images: leave it out"
            )
        if self.data.jitter is not None and any(s.resolution for s in stages_of(self.system)):
            raise UserError(
                f"--jitter is {self.data.jitter}, but {type(self.system).__name__} has stages of "
                "several sizes, which images are brought to whole: leave it out"
            )


def load(target: str | Path) -> Experiment:
    """The `config` of a Python file, or of the config of that name that ships with jaxgan.

    Raises:
        UserError: there is no such file or name, or it has no `config` that is an Experiment.
    """
    return load_with_code(target)[0]


def load_with_code(target: str | Path) -> tuple[Experiment, code.Code]:
    """As `load`, with the code that says so: the file, and the modules beside it that it imports.

    The config was named by a user, so its code is run.
    """
    path = find(target)
    if path is None:
        raise UserError(f"no config {target}{_nearest_config(Path(target))}")
    if path.suffix != ".py":
        raise UserError(f"{path} is no Python file: a config is a .py file")
    found = code.gather(path)
    experiment = getattr(found.run(), "config", None)
    if not isinstance(experiment, Experiment):
        raise UserError(f"{path} is no config: it must set config = jaxgan.Experiment(...)")
    return experiment, found


def find(target: str | Path) -> Path | None:
    """The file itself, or the shipped config of which it is the name: NAME, configs/NAME.py."""
    path = Path(target)
    if path.is_file():
        return path
    if path.parent not in _SHIPPED_AS or path.suffix not in ("", ".py"):
        return None
    shipped = shipped_configs() / f"{path.stem}.py"
    return shipped if shipped.is_file() else None


def shipped_configs() -> Path:
    """The folder of the configs that ship with jaxgan."""
    package = Path(__file__).parent
    inside = package / "configs"  # where a wheel has them; in a checkout they lie beside it
    return inside if inside.is_dir() else package.parent / "configs"


_SHIPPED_AS = (Path(), Path("configs"))
"""Folders that the names of shipped configs may carry."""


def _nearest_config(path: Path) -> str:
    known = {}
    if path.parent in _SHIPPED_AS:
        known = {shipped.stem: shipped.stem for shipped in shipped_configs().glob("*.py")}
    known |= {file.stem: str(file) for file in path.parent.glob("*.py")}
    close = difflib.get_close_matches(path.stem, known, n=1)
    return f"; did you mean {known[close[0]]}?" if close else "; `jaxgan configs` lists them"


def to_json(experiment: Experiment) -> str:
    """The experiment as JSON; the system's class stands under "type".

    Raises:
        UserError: a setting that JSON cannot hold.
    """
    facts = {"format": FORMAT} | _converter().unstructure(experiment)
    try:
        return json.dumps(facts, indent=2, default=_plain_number) + "\n"
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the config has a setting that is no number, text or tuple of such: {error}"
        ) from error


def _plain_number(value: Any) -> Any:
    """Of NumPy's numbers, what JSON holds."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{printable(repr(value)[:100])} is a {type(value).__name__}")


Find = Callable[[str], type[System]]
"""The class that config.json names under "type"."""


def from_json(
    text: str | bytes, find: Find | None = None, *, known: set[str] | None = None
) -> Experiment:
    """The experiment back from `to_json`.

    Args:
        text: of config.json.
        find: the class by its name; None: those of jaxgan and of modules that are imported already.
        known: the system's settings that count, where its code has changed; None: all do.

    Raises:
        UserError: JSON that does not parse, another format, an unknown key, a missing one, or a
            wrong type.
    """
    facts = parse(text)
    system = dict(facts["system"])
    kind = (find or find_imported)(system.pop("type"))
    if known is not None:
        system = {name: value for name, value in system.items() if name in known}
    system = dict(kind.renewed(system))
    converter = _converter()
    converter.register_structure_hook_func(
        lambda wanted: wanted is System, lambda value, _: converter.structure(value, kind)
    )
    try:
        return converter.structure(facts | {"system": system}, Experiment)
    except Exception as error:  # a system of one's own may raise anything of such settings
        raise UserError(f"config: {schema.why(error)}") from error


def parse(text: str | bytes) -> dict[str, Any]:
    """The settings of `to_json`, of which only the format and the system's type are checked.

    Raises:
        UserError: JSON that does not parse, another format, or no type.
    """
    try:
        facts = schema.parse_json(text)
    except ValueError as error:
        raise UserError(f"config is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise UserError("config: it must be an object")
    if (found := facts.pop("format", 1)) != FORMAT:
        raise UserError(
            f"config of format {found!r}, but this jaxgan reads format {FORMAT}: use the jaxgan "
            "that wrote it, or train anew"
        )
    system = facts.get("system")
    if not isinstance(system, dict) or not isinstance(system.get("type"), str):
        raise UserError('config: it must be an object with an object "system", which has a "type"')
    return facts


def _converter() -> cattrs.Converter:
    converter = schema.converter()

    def describe(given: System) -> dict[str, Any]:
        fields = {
            field.name: converter.unstructure(getattr(given, field.name))
            for field in dataclasses.fields(given)
            if field.init  # others are what the class says
        }
        return {"type": type_name(type(given)), **fields}

    converter.register_unstructure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, System), describe
    )
    converter.register_unstructure_hook(
        Data,
        make_dict_unstructure_fn(Data, converter, source=override(unstruct_hook=source_name)),
    )
    converter.register_structure_hook(
        Data,
        make_dict_structure_fn(Data, converter, source=override(struct_hook=schema.exactly(str))),
    )
    return converter


# --- the system's class


OWN = "code"
"""Folder of a run's own code, by which "type" names classes in it: code/my_gan.py:MyGAN."""


def type_name(kind: type) -> str:
    """What config.json calls a class."""
    found = code.of(kind.__module__)
    return f"{f'{OWN}/{found[1]}' if found else kind.__module__}:{kind.__qualname__}"


def find_imported(name: str) -> type[System]:
    """A system's class, of jaxgan or of a module that is imported already: nothing else is run.

    Raises:
        UserError: no such class, or a module that is not imported.
    """
    place, _, kind = name.rpartition(":")
    module = shipped_system(place) or sys.modules.get(place)
    if module is None:
        raise UserError(f"config: system type {name!r} is of a module that is not imported")
    return class_in(module, kind)


def shipped_system(place: str) -> ModuleType | None:
    """The module of a system that ships with jaxgan; None for any other."""
    parsed = re.fullmatch(r"jaxgan\.systems\.([a-z0-9_]+)", place)
    if parsed is None or not (Path(__file__).parent / "systems" / f"{parsed[1]}.py").is_file():
        return None
    return importlib.import_module(place)


def class_in(module: ModuleType, name: str) -> type[System]:
    """The system's class of that name that a module defines; what it merely imports is none.

    Raises:
        UserError: there is none.
    """
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, type | ModuleType) else None
    if isinstance(found, type) and issubclass(found, System) and not inspect.isabstract(found):
        return found
    known = [n for n, each in vars(module).items() if _is_system(each, module)]
    raise UserError(
        f"config: system type {name!r} is no jaxgan.System of {module.__name__}"
        f"{nearest(name, known)}"
    )


def _is_system(each: Any, module: ModuleType) -> bool:
    return (
        isinstance(each, type) and issubclass(each, System) and each.__module__ == module.__name__
    )


def differences(a: Experiment, b: Experiment) -> Iterator[str]:
    """Settings that differ and change the result, as lines `batch: 64 here, 32 in the run`."""
    for field in dataclasses.fields(Experiment):
        if field.metadata.get("changes_result", True):
            ours, theirs = (getattr(each, field.name) for each in (a, b))
            if isinstance(ours, Data):
                ours, theirs = _plain(ours), _plain(theirs)
            yield from _differences(field.name, ours, theirs)


def _differences(name: str, a: Any, b: Any) -> Iterator[str]:
    named_alike = type_name(type(a)) == type_name(type(b))
    if type(a) is not type(b) and not named_alike and dataclasses.is_dataclass(a):
        yield f"{name}: {type(a).__name__} here, {type(b).__name__} in the run"
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            if field.metadata.get("changes_result", True):
                yield from _differences(
                    f"{name}.{field.name}", getattr(a, field.name), getattr(b, field.name)
                )
    elif a != b:
        yield f"{name}: {a} here, {b} in the run"


def _plain(data: Data) -> Data:
    """Data whose source is a name, as a run keeps them; at first without PYTHON."""
    return dataclasses.replace(data, source=data.name.removeprefix(PYTHON))
