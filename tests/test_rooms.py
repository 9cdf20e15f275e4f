"""The map of rooms is true: imports go downwards only, and nothing above the systems names one."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "jaxgan"

# From the ground up; a room may import what stands before it, and itself.
ROOMS = (
    ("ahead", "errors", "interpolate", "replay", "pictures", "interrupt", "colour"),
    ("cpu",),
    ("backend", "console", "ranges"),
    ("bucket",),
    ("files",),
    ("schema",),
    ("code",),
    ("pth",),
    ("pretrained",),
    ("nn",),
    ("divergences",),
    ("losses",),
    ("penalties", "augment"),
    ("fields",),
    ("state",),
    ("view",),
    ("system",),
    ("systems",),
    ("config",),
    ("npz",),
    ("data",),
    ("parallel",),
    ("training",),
    ("codec",),
    ("metrics",),
    ("run",),
    ("describe",),
    ("latent", "convert", "plan", "theory"),
    ("bench",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def room_of(name: str) -> str:
    return name.split(".")[1]


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            folder = PACKAGE.parent / node.module.replace(".", "/")
            for alias in node.names:  # `from jaxgan import data` and the like
                inside = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
                found.add(f"{node.module}.{alias.name}" if inside else node.module)
    return {name for name in found if name.startswith("jaxgan.")}


def modules() -> dict[str, set[str]]:
    files = [
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem[0] != "_"
    ]
    return {str(path.relative_to(PACKAGE)): imports(path) for path in sorted(files)}


def test_every_room_has_its_place():
    rooms = {name.split("/")[0].removesuffix(".py") for name in modules()}
    assert rooms == set(LEVEL)


def test_imports_go_downwards():
    upwards = [
        f"{file} imports {name}"
        for file, names in modules().items()
        for name in names
        if LEVEL[room_of(name)] > LEVEL[file.split("/")[0].removesuffix(".py")]
        or (
            LEVEL[room_of(name)] == LEVEL[file.split("/")[0].removesuffix(".py")]
            and room_of(name) != file.split("/")[0].removesuffix(".py")
        )
    ]
    assert upwards == []


def test_no_circles():
    graph = {
        f"jaxgan.{file.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__"): names
        for file, names in modules().items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"circle: {' -> '.join([*way, name])}"
        if name in done or name not in graph:
            return
        # A package's __init__ imports its files, which may import each other, but not the package.
        for other in graph[name]:
            visit(other, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_nothing_outside_systems_branches_on_an_ability():
    words = (
        r"\b(system\.directions|input_shape|aligned|judges|Styled|Resizable|Pyramid)\b"
        r"|getattr\(.*system"
    )
    found = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in PACKAGE.rglob("*.py")
        if "systems" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(words, line.split("#")[0])
    ]
    assert found == []


def test_the_training_step_has_no_word_of_hardware():
    for path in (PACKAGE / "training").glob("*.py"):
        assert not re.search(r"on_cpu|\bCPU|\bGPU|\bTPU", path.read_text()), path


def test_stages_are_built_in_one_place():
    calls = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"(?<!super\(\))\.stages\(\)", line.split("#")[0])
    ]
    assert calls == ["system.py"]


def test_functions_are_short():
    long = [
        f"{path.relative_to(PACKAGE)} {node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 70
    ]
    assert long == []
