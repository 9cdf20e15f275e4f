"""Code of one's own: found beside a config, hashed, run from what was hashed, apart from others."""

import sys

import pytest

from jaxgan import UserError, code


def write(folder, **files):
    """Files by name, with __ for a slash."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_all_that_is_imported_beside_a_file_is_found_without_running_it(tmp_path):
    write(
        tmp_path,
        main="import nets, json, numpy\nfrom parts.deep import thing\ndef f():\n    import late",
        nets="from helper import *\nraise SystemExit('it ran')",
        helper="",
        late="import nets",
        unused="",
        parts__deep__INIT="from . import inner\nfrom .other import x as thing",
        parts__deep__inner="from ..side import y",
        parts__deep__other="x = 1",
        parts__side="y = 2",
        parts__unused="",
    )
    found = code.gather(tmp_path / "main.py")
    assert sorted(found.files) == [
        "helper.py",
        "late.py",
        "main.py",
        "nets.py",
        "parts/deep/__init__.py",
        "parts/deep/inner.py",
        "parts/deep/other.py",
        "parts/side.py",
    ]


def test_two_folders_have_two_modules_of_one_name(tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        write(
            tmp_path / name,
            main="from nets import G\nimport nets.inner as inner\nimport pack.sub\n"
            "from . import nets as same\ndef later():\n    from lazy import L\n    return L",
            nets__INIT=f"class G: value = {value}",
            nets__inner=f"value = {10 * value}",
            pack__sub=f"value = {100 * value}",
            lazy=f"L = {1000 * value}",
        )
    path, modules = list(sys.path), set(sys.modules)
    a, b = (code.gather(tmp_path / name / "main.py").run() for name in "ab")
    assert (a.G.value, a.inner.value, a.pack.sub.value, a.later()) == (1, 10, 100, 1000)
    assert (b.G.value, b.inner.value, b.pack.sub.value, b.later()) == (2, 20, 200, 2000)
    assert a.same.G is a.G
    assert sys.path == path
    assert all(name.startswith("jaxgan_code_") for name in set(sys.modules) - modules)
    # Once, as long as it is the same.
    assert code.gather(tmp_path / "a/main.py").run().G is a.G
    write(tmp_path / "a", nets__INIT="class G: value = 3")
    assert code.gather(tmp_path / "a/main.py").run().G.value == 3
    assert a.G.value == 1


def test_what_was_read_is_what_runs(tmp_path):
    write(tmp_path, main="from nets import value", nets="value = 1")
    found = code.gather(tmp_path / "main.py")
    write(tmp_path, main="value = 'changed'", nets="value = 'changed'")
    assert found.run().value == 1


def test_installed_packages_are_not_hidden_by_folders_of_their_names(tmp_path):
    write(
        tmp_path,
        main="import numpy, jaxgan, nets\nfrom jaxgan import System",
        numpy__setup="raise SystemExit",
        jaxgan__INIT="raise SystemExit",
        nets="import random, numpy",
        random="mine = True",
    )
    found = code.gather(tmp_path / "main.py")
    assert sorted(found.files) == ["main.py", "nets.py", "random.py"]
    made = found.run()
    assert made.numpy is sys.modules["numpy"]
    assert made.jaxgan is sys.modules["jaxgan"]
    assert made.nets.random.mine


def test_mistakes_in_code_are_told(tmp_path):
    write(
        tmp_path, main="from broken import x", broken="def f(:\n", lost="import nets.inner", nets=""
    )
    with pytest.raises(UserError, match=r"broken\.py, line 1: invalid syntax"):
        code.gather(tmp_path / "main.py")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'nets.inner'"):
        code.gather(tmp_path / "lost.py").run()
    (tmp_path / "nul.py").write_bytes(b"x = '\0'")
    with pytest.raises(UserError, match=r"nul\.py.*null bytes"):
        code.gather(tmp_path / "nul.py")


def test_what_lies_elsewhere_is_found_without_importing_it(tmp_path, monkeypatch):
    write(
        tmp_path / "lib",
        mine__INIT="raise SystemExit",
        mine__models="from . import layers",
        mine__layers="",
    )
    monkeypatch.syspath_prepend(tmp_path / "lib")
    files, packages = code.elsewhere(
        {
            "x": (
                b"import os, jax.numpy, jaxgan\nfrom mine.models import G\nfrom flax import nnx",
                "",
            )
        }
    )
    assert set(files) == {"mine", "mine.models", "mine.layers"}
    assert packages == {"jax", "flax"}
    assert "mine" not in sys.modules
    assert set(code.versions(packages)) == packages


def test_notes_are_only_believed_where_no_one_else_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(code, "_NAMED", set())
    assert not code.is_noted("ab")
    assert code.note("ab") == ""
    monkeypatch.setattr(code, "_NAMED", set())
    assert code.is_noted("ab")
    (tmp_path / "jaxgan/code").chmod(0o777)
    assert not code.is_noted("ab")
    assert "not this user's alone" in code.note("cd")
    monkeypatch.setattr(code, "_NAMED", set())
    assert not code.is_noted("cd")
