"""The code of a run that is not jaxgan's: kept in it, compared when it resumes, run if trusted."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxgan import code as codes
from jaxgan import files, schema
from jaxgan.code import Code
from jaxgan.config import (
    OWN,
    PYTHON,
    Experiment,
    Find,
    class_in,
    shipped_system,
    type_name,
)
from jaxgan.errors import UserError
from jaxgan.run.folder import CODE
from jaxgan.system import System

FORMAT = 1

_COMPUTE = ("jax", "jaxlib", "flax", "optax")
"""Packages whose versions decide, beside jaxgan's, which numbers a run has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accepted:
    """A change of a run's code that its user went on with.

    Attributes:
        step: at which.
        changed: {file or module: (sha256 before, sha256 after)}; None where there was, is, none.
    """

    step: int
    changed: dict[str, tuple[str | None, str | None]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """code.json: what a run was trained with.

    Attributes:
        format: of this file.
        jaxgan: its version.
        packages: {name: version} of what computes, and of what the run's code imports.
        main: the file that imports the others; None: the run has no code of its own.
        files: {name in code/: sha256}.
        modules: {module: sha256 of its file} of the user's own that lie elsewhere; they are not
            kept.
        accepted: changes that were accepted, oldest first.
    """

    format: int
    jaxgan: str
    packages: dict[str, str]
    main: str | None = None
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    modules: dict[str, str] = dataclasses.field(default_factory=dict)
    accepted: tuple[Accepted, ...] = ()

    def to_json(self) -> str:
        """As it stands in the run."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def of_experiment(experiment: Experiment, given: Code | None = None) -> tuple[Kept, Code | None]:
    """What is to be kept of the code of an experiment, and the files.

    Args:
        experiment: whose system, or data, may be code of a config file.
        given: the code of the config file that it is of.
    """
    source = experiment.data.source
    makers = [type(experiment.system).__module__]
    if not isinstance(source, str):
        makers += [getattr(source, "__module__", ""), type(source).__module__]
    carried = next((found[0] for name in makers if (found := codes.of(name or ""))), None)
    if carried is None and not isinstance(source, str):
        carried = given  # its arrays are made there
    start: dict[str, tuple[bytes, str]] = {}
    if carried is not None:
        start = {
            str(carried.root / name): (text, ".".join(name.split("/")[:-1]))
            for name, text in carried.files.items()
        }
    module, _, _ = type_name(type(experiment.system)).rpartition(":")
    if not module.startswith((f"{OWN}/", "jaxgan.")):
        start[f"<{module}>"] = (f"import {module}".encode(), "")
    modules, packages = codes.elsewhere(start)
    if carried is not None:  # the modules beside it are kept
        modules = {n: p for n, p in modules.items() if not _is_in(carried, p)}
    hashes = {name: hashlib.sha256(codes.read(path)).hexdigest() for name, path in modules.items()}
    if module == "__main__" and (script := codes.find_file(module)) and script.is_file():
        hashes[module] = hashlib.sha256(codes.read(script)).hexdigest()
    compute = {name: _version(name) for name in _COMPUTE}
    kept = Kept(
        format=FORMAT,
        jaxgan=_version("jaxgan"),
        packages=codes.versions(packages) | compute,
        main=carried.main if carried else None,
        files=carried.hashes if carried else {},
        modules=dict(sorted(hashes.items())),
    )
    return kept, carried


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"


def _is_in(code: Code, path: Path) -> bool:
    return path.is_relative_to(code.root) and str(path.relative_to(code.root)) in code.files


def read(folder: Path) -> Kept | None:
    """What a run says of its code; None: it is of a jaxgan that kept none.

    Raises:
        UserError: it is broken.
    """
    path = folder / CODE
    if not path.exists():
        return None
    mend = "restore it, or the run as a whole"
    facts = schema.read_json(path, mend=mend)
    if isinstance(facts, dict) and facts.get("format") != FORMAT:
        raise UserError(
            f"{path} is of format {facts.get('format')!r}, but this jaxgan reads {FORMAT}: use the "
            "jaxgan that wrote it"
        )
    kept = schema.structure(facts, Kept, path, mend=mend)
    names = {*kept.files, *([] if kept.main is None else [kept.main])}
    if bad := [name for name in names if not files.is_name(name, deep=True)]:
        raise UserError(f"{path} is broken ({bad[0]!r} is no name of a file below code/): {mend}")
    if len(names) > codes.MOST or (kept.main is not None and kept.main not in kept.files):
        raise UserError(f"{path} is broken (its files are too many, or lack its main one): {mend}")
    return kept


def carried(folder: Path) -> Code:
    """The code that a run carries, as it was kept; nothing is run.

    Raises:
        UserError: there is none, or a file is missing or has changed.
    """
    kept = read(folder)
    if kept is None or kept.main is None:
        raise UserError(f"{folder} carries no code, but its config.json names some: restore {CODE}")
    root = (folder / OWN).resolve()
    found = {}
    for name, known in kept.files.items():
        path = folder / OWN / name
        try:
            found[name] = files.read_regular(path, limit=codes.LARGEST)
        except OSError as error:
            reason = error.strerror
            raise UserError(f"{path}, code of the run, cannot be read: {reason}") from error
        if hashlib.sha256(found[name]).hexdigest() != known:
            raise UserError(
                f"{path} is not what the run was trained with: restore it, or go on with it by "
                f"`jaxgan train {folder} --accept-code`"
            )
    return Code(root, kept.main, found)


# --- opening


def finder(folder: Path, *, trust: bool, accept: bool = False) -> Find:
    """How the class that a run's config.json names is found, without running code unasked.

    Args:
        folder: of the run.
        trust: whether code that is not jaxgan's is run.
        accept: whether the run's code may have changed since it was kept.

    The function raises a UserError where a class is not found, or is code that is not trusted.
    """

    def find(name: str) -> type[System]:
        place, _, kind = name.rpartition(":")
        module = shipped_system(place)
        if module is None and place.startswith(f"{OWN}/"):
            module = _of_run(folder, place.removeprefix(f"{OWN}/"), trust, accept)
        if module is None and place.endswith(".py"):
            module = _of_path(folder, Path(place), trust)
        if module is None and codes.of(place) is None:
            module = sys.modules.get(place) or _of_module(folder, name, trust)
        if module is None:
            raise UserError(f"config: system type {name!r} is no class: expected MODULE:CLASS")
        return class_in(module, kind)

    return find


def _of_run(folder: Path, file: str, trust: bool, accept: bool) -> ModuleType:
    """A module of the code that a run carries."""
    if accept and (kept := read(folder)) is not None and kept.main is not None:
        code = codes.gather(folder / OWN / kept.main)
    else:
        code = carried(folder)
    if file not in code.files:
        raise UserError(f"{folder / OWN / file} is no code that the run carries: restore {CODE}")
    if not trust and not codes.is_noted(code.digest):
        names = ", ".join(f"{OWN}/{name}" for name in list(code.files)[:5])
        more = f" and {len(code.files) - 5} more" if len(code.files) > 5 else ""
        raise UserError(
            f"{folder} carries code that was not trained here by you, and opening the run would "
            f"run it: read {names}{more}, then give --trust-code if you trust it"
        )
    return _run(code, file)


def _of_path(folder: Path, path: Path, trust: bool) -> ModuleType:
    """A module of a file elsewhere, as runs named it that kept no code."""
    if not path.is_absolute():
        raise UserError(f"config: system type {str(path)!r} is no code that the run carries")
    if not trust:
        raise UserError(
            f"{folder} is of a jaxgan that kept no code in runs, and names {path}: give "
            "--trust-code to run that file as it is now"
        )
    if not path.is_file():
        raise UserError(
            f"{folder} is of a jaxgan that kept no code, and {path} is gone: restore it"
        )
    return _run(codes.gather(path), path.resolve().name)


def _run(code: Code, file: str) -> ModuleType:
    try:
        return code.run(file)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{code.root / file} cannot be run: {type(error).__name__}: {schema.why(error)}"
        ) from error


def _of_module(folder: Path, name: str, trust: bool) -> ModuleType:
    """A module of elsewhere, imported if that is trusted."""
    place = name.rpartition(":")[0]
    if not place or not all(part.isidentifier() for part in place.split(".")):
        raise UserError(f"config: system type {name!r} is no class: expected MODULE:CLASS")
    if place == "__main__":
        raise UserError(
            f"{folder} has a system that was defined in a script ({name}), which is not kept: "
            "define it in a module, or in a config for `jaxgan train`"
        )
    if not trust and not ((digest := _digest(place)) and codes.is_noted(digest)):
        raise UserError(
            f"{folder} has a system of a module that is not jaxgan's, {name}, and opening the run "
            "would import it: give --trust-code if you trust it"
        )
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise UserError(
            f"config: system type {name!r} cannot be imported: {schema.why(error)}"
        ) from error


def _digest(module: str) -> str | None:
    """What notes a module of elsewhere: all files of the user's that importing it runs."""
    path = codes.find_file(module)
    if path is None or not path.is_file():
        return None
    modules, _ = codes.elsewhere({f"<{module}>": (f"import {module}".encode(), "")})
    facts = [
        f"{name}\n{each.resolve()}\n{hashlib.sha256(codes.read(each)).hexdigest()}"
        for name, each in sorted({**modules, module: path}.items())
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def note(experiment: Experiment, code: Code | None) -> str:
    """Notes that this user trains such code; returns why that failed, "" if it did not."""
    module = type_name(type(experiment.system)).rpartition(":")[0]
    digests = [code.digest] if code is not None else []
    if not module.startswith((f"{OWN}/", "jaxgan.")) and (found := _digest(module)):
        digests.append(found)
    return next((why for digest in digests if (why := codes.note(digest))), "")


# --- resuming


def same_system(former: str, system: System) -> bool:
    """Whether config.json's "type" names the system's class, whatever its file is called."""
    ours = type_name(type(system))
    if former == ours:
        return True
    (place, _, kind), (our_place, _, our_kind) = former.rpartition(":"), ours.rpartition(":")
    own = our_place.startswith(f"{OWN}/")
    return own and kind == our_kind and (place.startswith(f"{OWN}/") or place.endswith(".py"))


def changes(former: Kept, now: Kept) -> dict[str, tuple[str | None, str | None]]:
    """{file or module: (sha256 then, sha256 now)} of what differs."""

    def all_of(kept: Kept) -> Mapping[str, str]:
        return {f"{OWN}/{name}": each for name, each in kept.files.items()} | kept.modules

    then, today = all_of(former), all_of(now)
    return {
        name: (then.get(name), today.get(name))
        for name in sorted({*then, *today})
        if then.get(name) != today.get(name)
    }


def resume(folder: Path, now: Kept, *, step: int, accept: bool) -> tuple[Kept, list[str]]:
    """Compares a run's code with that which is to go on with it.

    Returns what is to be kept, and what is to be told.

    Raises:
        UserError: the code has changed, and that is not accepted.
    """
    former = read(folder)
    if former is None:
        what = "its code is kept from now on" if now.files else ""
        return now, [f"{folder} is of a jaxgan that kept no code: {what}"] if what else []
    lines = list(_newer(folder, former, now))
    changed = changes(former, now)
    if not changed:
        return dataclasses.replace(now, accepted=former.accepted), lines
    words = "; ".join(
        f"{name} {'is new' if old is None else 'is gone' if new is None else 'has changed'}"
        for name, (old, new) in changed.items()
    )
    if not accept:
        own = f", go on with the run's own by `jaxgan train {folder}`" if former.files else ""
        raise UserError(
            f"{folder} was trained with other code ({words}): restore it{own}, give --accept-code "
            "to go on with the changed one, or choose another --out"
        )
    accepted = (*former.accepted, Accepted(step=step, changed=changed))
    lines.append(f"{folder}: goes on with other code from step {step} ({words}), see {CODE}")
    return dataclasses.replace(now, accepted=accepted), lines


def _newer(folder: Path, former: Kept, now: Kept) -> Iterator[str]:
    """A line where versions differ."""
    then: dict[str, Any] = {"jaxgan": former.jaxgan, **former.packages}
    today: dict[str, Any] = {"jaxgan": now.jaxgan, **now.packages}
    differ = [
        f"{name} {then[name]} then, {today[name]} now"
        for name in then
        if name in today and then[name] != today[name]
    ]
    if differ:
        yield f"{folder}: other versions ({'; '.join(differ)}), so numbers may differ from here on"


# --- data that are made by code


def with_own_data(
    experiment: Experiment, folder: Path, *, trust: bool, accept: bool
) -> tuple[Experiment, Code | None]:
    """A run's experiment with the data that its own code makes, where they are no data set.

    Raises:
        UserError: they were given in Python, and the run carries no code that makes them.
    """
    name = experiment.data.source
    if not name.startswith(PYTHON):
        return experiment, None
    kept = read(folder)
    if kept is None or kept.main is None:
        raise UserError(
            f"{folder} was trained on data given in Python ({name.removeprefix(PYTHON)}), which a "
            "run does not keep: call jaxgan.train with them and this folder"
        )
    module = _of_run(folder, kept.main, trust, accept)
    made = getattr(module, "config", None)
    if not isinstance(made, Experiment) or made.data.name != name:
        raise UserError(f"{folder / OWN / kept.main} sets no config with the run's data")
    found = codes.of(module.__name__)
    data = dataclasses.replace(experiment.data, source=made.data.source)
    return dataclasses.replace(experiment, data=data), found[0] if found else None
