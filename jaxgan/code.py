"""Code that is not jaxgan's: a config file and the modules beside it, read, hashed, then run.

All files are read first, those that are imported, too, and what is run is those bytes: so what was
hashed is what runs. Their modules have names of their own in `sys.modules`, below a package that
stands for the folder. So `from nets import G` in two folders imports two modules, and nothing is
added to `sys.path`.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from jaxgan.errors import UserError
from jaxgan.files import read_given

LARGEST = 4 << 20
"""Bytes of a Python file."""

MOST = 1000
"""Files of one program."""

_PREFIX = "jaxgan_code_"


@dataclasses.dataclass(frozen=True, eq=False)
class Code:
    """Python files below a folder: one, and those beside it that it imports.

    Attributes:
        root: the folder.
        main: the file that imports the others.
        files: {name below the folder: what it holds}.
    """

    root: Path
    main: str
    files: Mapping[str, bytes]

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        """{name: sha256}."""
        return {name: hashlib.sha256(text).hexdigest() for name, text in sorted(self.files.items())}

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of all of it: names, and what they hold."""
        facts = json.dumps({"main": self.main, "files": self.hashes}, sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()

    def run(self, name: str | None = None) -> ModuleType:
        """Runs a file, by default the main one, unless it has run: its module.

        The same bytes in the same folder are run once, so their classes stay the same objects.
        """
        prefix = _registered(self)
        return importlib.import_module(f"{prefix}.{_module_name(name or self.main)}")


def gather(path: Path) -> Code:
    """A file and the modules beside it that it imports, wherever in it, and what those import.

    Beside it is what lies in its folder or below. Nothing is run.

    Raises:
        UserError: a file that cannot be read, or is no Python.
    """
    path = path.resolve()
    root, main = path.parent, path.name
    files: dict[str, bytes] = {}
    left = [main]
    while left:
        name = left.pop()
        if name in files:
            continue
        if len(files) == MOST:
            raise UserError(f"{path} imports more than {MOST:,} files beside it: import fewer")
        files[name] = read(root / name)
        for module in imports(files[name], _package(name), root / name):
            left += _files_of(root, module)
    return Code(root, main, files)


def function(word: str) -> Callable[..., Any]:
    """The function that `FILE.py:NAME` names; the file is run.

    Raises:
        UserError: another word, no such file or no such function.
    """
    file, _, name = word.rpartition(":")
    if not file.endswith(".py") or not name:
        raise UserError(f"{word!r} names no function: give FILE.py:NAME")
    if not Path(file).is_file():
        raise UserError(f"{file} is no file: give FILE.py:NAME")
    found = getattr(gather(Path(file)).run(), name, None)
    if not callable(found):
        raise UserError(f"{file} has no function {name!r}: give FILE.py:NAME")
    return found  # type: ignore[no-any-return]


def read(path: Path) -> bytes:
    """What a Python file holds.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    return read_given(path, limit=LARGEST)


def imports(source: bytes, package: str, path: Path) -> Iterator[str]:
    """Names of modules that a file may import, and of what it imports from them.

    Args:
        source: of the file.
        package: that the file is in, for relative imports; "" for none.
        path: of the file, for messages.

    Raises:
        UserError: it is no Python.
    """
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        number = getattr(error, "lineno", None)
        line = f", line {number}" if number else ""
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise UserError(f"{path}{line}: {reason}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".") if package else []
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            if base:
                yield base
            # What is imported may be a module, and all of a package may be all of its modules.
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def _files_of(root: Path, module: str) -> Iterator[str]:
    """The files below a folder that importing a module runs: its packages', and its own."""
    top, *rest = module.split(".")
    if top == "jaxgan" or not top or not _is_beside(root, top):
        return
    folder = ""
    for part in (top, *rest):
        here = f"{folder}{part}"
        if part == "*":
            yield from (
                f"{folder}{found.name}"
                for found in sorted((root / folder).glob("*.py"))
                if found.name != "__init__.py"
            )
        elif (root / here).is_dir():
            if (root / here / "__init__.py").is_file():
                yield f"{here}/__init__.py"
        else:
            if (root / f"{here}.py").is_file():
                yield f"{here}.py"
            return
        folder = f"{here}/"


def _is_beside(root: Path, top: str) -> bool:
    """Whether a name is a module or a package of the folder, and not one that is installed."""
    if (root / f"{top}.py").is_file() or (root / top / "__init__.py").is_file():
        return True
    # A folder alone is a package, too, where nothing else has that name.
    return (root / top).is_dir() and find_file(top) is None


def _package(name: str) -> str:
    """The package that a file is in: `nets/layers.py` is in nets, so is `nets/__init__.py`."""
    return ".".join(name.split("/")[:-1])


def _module_name(file: str) -> str:
    """`nets.layers` for `nets/layers.py`, and `nets` for `nets/__init__.py`."""
    *folders, last = file.removesuffix(".py").split("/")
    last = last.replace(".", "_")  # of a file that only a command line can name
    return ".".join([*folders, *([] if last == "__init__" and folders else [last])])


# --- running


_LOADED: dict[str, Code] = {}
"""By the name of the package that stands for their folder."""

_NUMBERS = itertools.count()


def _registered(code: Code) -> str:
    """The package that stands for the folder of such code."""
    for prefix, known in _LOADED.items():
        if (known.root, known.digest) == (code.root, code.digest):
            return prefix
    prefix = f"{_PREFIX}{code.digest[:12]}_{next(_NUMBERS)}"
    _LOADED[prefix] = code
    return prefix


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `_LOADED` by their names in `sys.modules`, and runs them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        prefix, _, name = fullname.partition(".")
        code = _LOADED.get(prefix)
        if code is None:
            return None
        file = _file_of(code, name)
        if file is None and name and not _holds(code, name):
            return None
        whole = name == "" or file is None or file.endswith("__init__.py")
        origin = None if file is None else str(code.root / file)
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=whole)
        spec.has_location = origin is not None
        spec.loader_state = (prefix, file)
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        prefix, file = module.__spec__.loader_state
        if file is None:
            return  # the folder, or one below it without code of its own
        code = _LOADED[prefix]
        # Read by what is run in the module's functions, too, and so by imports inside them.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importer(prefix)}
        exec(_compiled(code, file), module.__dict__)


def _file_of(code: Code, name: str) -> str | None:
    path = name.replace(".", "/")
    if name == _module_name(code.main):
        return code.main
    return next((n for n in (f"{path}/__init__.py", f"{path}.py") if n in code.files), None)


def _holds(code: Code, name: str) -> bool:
    folder = name.replace(".", "/") + "/"
    return any(file.startswith(folder) for file in code.files)


def _compiled(code: Code, file: str) -> CodeType:
    return compile(code.files[file], str(code.root / file), "exec", dont_inherit=True)


def _importer(prefix: str) -> Any:
    """`__import__` for the modules of a folder: what lies beside them is found there."""

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        code, top = _LOADED[prefix], name.partition(".")[0]
        inside = level == 0 and (_file_of(code, top) or _holds(code, top))
        if not inside:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        try:
            module = importlib.import_module(f"{prefix}.{name}")
            if not fromlist:
                return sys.modules[f"{prefix}.{top}"]
            return builtins.__import__(module.__name__, globals, locals, fromlist, 0)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(f"{prefix}."):
                own = str(error.name).partition(".")[2]
                raise ModuleNotFoundError(f"No module named {own!r}", name=own) from None
            raise

    return import_


sys.meta_path.append(_Finder())


# --- classes


def of(module: str) -> tuple[Code, str] | None:
    """The code that a module's name belongs to, and its file in it; None for any other module."""
    prefix, _, name = module.partition(".")
    code = _LOADED.get(prefix)
    file = None if code is None else _file_of(code, name)
    return (code, file) if code is not None and file is not None else None


# --- modules of elsewhere


def find_file(module: str) -> Path | None:
    """The file of an importable module, found without importing it or what holds it.

    None where there is none: built-in, a folder, or not to be found.
    """
    known = sys.modules.get(module)
    if known is not None:
        file = getattr(known, "__file__", None)
        return Path(file) if isinstance(file, str) else None
    where: Sequence[str] | None = None
    name, spec = "", None
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        try:
            spec = importlib.machinery.PathFinder.find_spec(name, where)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def elsewhere(start: Mapping[str, tuple[bytes, str]]) -> tuple[dict[str, Path], set[str]]:
    """What some code imports: files of the user's that are not beside it, and installed packages.

    Args:
        start: {name: (source, its package)} of the code.

    Returns {module: file} of all modules that are neither installed nor Python's own, those that
    such modules import included; and the names of installed packages.
    """
    files: dict[str, Path] = {}
    packages: set[str] = set()
    left = list(start.items())
    while left:
        name, (source, package) = left.pop()
        for module in imports(source, package, Path(name)):
            top = module.partition(".")[0]
            if top in packages or top in sys.stdlib_module_names or top in ("jaxgan", "__main__"):
                continue
            parts = module.split(".")
            for each in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
                path = None if each in files or each == "__main__" else find_file(each)
                if path is not None and _is_installed(path):
                    packages.add(top)
                    break
                if path is not None and path.suffix == ".py" and len(files) < MOST:
                    files[each] = path
                    inside = each if path.name == "__init__.py" else each.rpartition(".")[0]
                    left.append((str(path), (read(path), inside)))
    return files, packages


def _is_installed(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(path.parts))


def versions(packages: set[str]) -> dict[str, str]:
    """{package: version} of those that say one."""
    if not packages:
        return {}
    known = importlib.metadata.packages_distributions()
    found = {}
    for package in sorted(packages):
        for distribution in known.get(package, ())[:1]:
            found[package] = importlib.metadata.version(distribution)
    return found


# --- trust


_NAMED: set[str] = set()
"""Digests that this process has been told to run."""


def _noted() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "jaxgan" / "code"


def note(digest: str) -> str:
    """Notes code as this user's: it was trained, so opening a run that carries it may run it.

    Returns why that could not be kept for other processes; "" if it could.
    """
    _NAMED.add(digest)
    try:
        folder = _noted()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_mine(folder):
            return f"{folder} is not this user's alone"
        (folder / digest).touch(0o600)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return str(error)
    return ""


def is_noted(digest: str) -> bool:
    """Whether this user, or this process, has trained exactly such code."""
    if digest in _NAMED:
        return True
    try:
        folder = _noted()
        return _is_mine(folder) and (folder / digest).is_file()
    except (OSError, RuntimeError):
        return False


def _is_mine(folder: Path) -> bool:
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022
