"""A use as an ONNX program, by jax2onnx, checked against this one by onnxruntime."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxgan.backend import target
from jaxgan.convert.program import function_of
from jaxgan.errors import UserError
from jaxgan.fields import Drawable, Field
from jaxgan.run.open import Run

TOLERANCE = 1e-4
"""Largest difference of what a program gives, of images in [-1, 1], from what is given here."""

_INSTALL = "pip install 'jaxgan[onnx]' && pip install --no-deps jax2onnx"


def program(run: Run, use: str = "generate") -> tuple[bytes, tuple[str, ...]]:
    """(a use of the evaluated networks, weights inside, sentences: how it was checked).

    Inputs and outputs have the names of what the use takes and gives, [b, ...] as networks see
    them. It takes any number of rows where jax2onnx is able to, otherwise one at a time. Where a
    use has noise of its own, every row has that of number 0.

    Raises:
        UserError: jax2onnx is not installed, cannot convert the program, or converts it wrongly;
            the system has no such use, or it takes something of no fixed size.
    """
    takes, (one, each) = _calls(run, use)
    convert = _converter()
    names = list(run.gives(use))
    (symbol,) = export.symbolic_shape("b")
    failures = []
    # One sample at a time under vmap: no network has to handle sizes that are symbols.
    for call, rows in ((each, symbol), (one, 1)):
        inputs = [
            jax.ShapeDtypeStruct((rows, *field.shape), field.dtype) for field in takes.values()
        ]
        try:
            with _quiet(), target("gpu"):
                model = convert(call, inputs, input_names=list(takes), output_names=names)
        except Exception as error:  # whatever it meets
            failures.append(" ".join(str(error).split())[:200] or type(error).__name__)
            continue
        content = model.SerializeToString()
        count = "one row at a time" if rows == 1 else "any number of rows"
        checked = _check(content, run, use, call, 1 if rows == 1 else 3)
        return content, (f"takes {count}", *checked)
    raise UserError(
        f"jax2onnx cannot convert {use} of {type(run.system).__name__} ({failures[-1]}): give "
        "--format stablehlo"
    )


def _converter() -> Callable[..., Any]:
    with _quiet():
        try:
            return importlib.import_module("jax2onnx").to_onnx
        except ImportError as error:
            raise UserError(f"--format onnx needs jax2onnx ({error}): {_INSTALL}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of jax2onnx on parts of it that are not used here."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


Call = Callable[..., tuple[jax.Array, ...]]


def _calls(run: Run, use: str) -> tuple[dict[str, Field], tuple[Call, Call]]:
    """What a use takes, and what it gives of that, in order: of one row [1, ...], and of any."""
    takes, of_rows = function_of(run, use)

    def one(*taken: jax.Array) -> tuple[jax.Array, ...]:
        rows = dict(zip(takes, taken, strict=True))
        return tuple(of_rows(rows, jnp.zeros(1, jnp.uint32)).values())

    def each(*taken: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(x[0] for x in one(*(x[None] for x in taken)))

    return takes, (one, jax.vmap(each))


def _check(content: bytes, run: Run, use: str, call: Call, rows: int) -> tuple[str, ...]:
    """How far the program's outputs are from what they should be; refuses one that is wrong."""
    try:
        with _quiet():
            runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return (f"not checked, for onnxruntime is not installed: {_INSTALL}",)
    random = np.random.default_rng(0)
    given: dict[str, np.ndarray] = {
        name: random.uniform(-1, 1, field.zeros(rows).shape).astype(field.dtype)
        for name, field in run.takes(use).items()
        if not isinstance(field, Drawable)
    }
    taken = run.draw(use, given, numbers=rows)
    inputs = {name: np.asarray(taken[name]) for name in run.takes(use)}
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        made = session.run(None, inputs)
    except Exception as error:  # its own kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"onnxruntime does not run what jax2onnx made of {use} ({reason}): give --format "
            "stablehlo"
        ) from error
    far = _distance(made, jax.jit(call)(*inputs.values()))
    if not far <= TOLERANCE:
        raise UserError(
            f"what jax2onnx made of {use} differs by {far:.1e}, more than {TOLERANCE:g}: give "
            "--format stablehlo"
        )
    notes: tuple[str, ...] = (f"checked by onnxruntime: the largest difference is {far:.1e}",)
    alike = {name: np.repeat(row[:1], 2, 0) for name, row in inputs.items()}
    both = run.apply(use, alike, numbers=2).made.values()
    if _distance([each[0] for each in both], [each[1] for each in both]) > TOLERANCE:
        notes += (f"{use} has noise of its own: here every row has that of number 0",)
    return notes


def _distance(made: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference of any two numbers."""
    pairs = zip(made, expected, strict=True)
    return max(float(np.abs(np.asarray(a, np.float64) - np.asarray(b)).max()) for a, b in pairs)
