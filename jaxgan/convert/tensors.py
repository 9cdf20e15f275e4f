"""The tensors of a file, by name; none is lost."""

import fnmatch
import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jaxgan.errors import UserError
from jaxgan.pth import Fact

Matrix = Float[np.ndarray, "rows columns"]


class Tensors:
    """The tensors of a file, each of which must be taken, or left out by name."""

    def __init__(
        self, arrays: dict[str, np.ndarray], file: str, facts: Mapping[str, Fact] | None = None
    ):
        """Takes the names as they are, but for the `module.` of PyTorch's DataParallel.

        `facts` are settings that the file gives beside its tensors.
        """
        self.facts = facts or {}
        prefix = "module." if all(name.startswith("module.") for name in arrays) else ""
        self._arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        self._rest = dict.fromkeys(self._arrays)
        self._left: list[str] = []
        self.file = file
        self.prefix = ""

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def enter(self, known: str, network: str) -> None:
        """Goes on below the wrapper that holds a network, leaving out all that is beside it.

        Wrappers are found by a tensor that the network has, whatever they are called: a trainer's
        {"state_dict": ...}, {"G": ..., "D": ..., "G_ema": ...}, DataParallel's `module.`. Without
        that tensor, nothing is entered.

        Args:
            known: name of the tensor.
            network: says which to take where several have it: "discriminator", or else a generator,
                the average first.

        Raises:
            UserError: several networks have it, and their names do not say which is meant.
        """
        if known in self._arrays:
            return
        found = [n.removesuffix(known) for n in self._arrays if n.endswith(f".{known}")]
        if not found:
            return
        letter = "d" if network.startswith("discriminator") else "g"
        meant = [p for p in found if _is_named(p, letter)] or found
        if letter == "g":
            meant = [prefix for prefix in meant if "ema" in prefix.lower()] or meant
        if len(meant) > 1:
            raise UserError(
                f"{self.file} holds {len(meant)} such networks, {', '.join(meant)}: save the "
                f"{network} alone"
            )
        (self.prefix,) = meant
        inner = [name for name in self._arrays if name.startswith(self.prefix)]
        self._left += [name for name in self._arrays if not name.startswith(self.prefix)]
        self._arrays = {name.removeprefix(self.prefix): self._arrays[name] for name in inner}
        self._rest = dict.fromkeys(self._arrays)
        self.facts = {
            name.removeprefix(self.prefix): fact
            for name, fact in self.facts.items()
            if name.startswith(self.prefix)
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, as it is in the file.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self._arrays:
            raise UserError(
                f"{self.file} has no tensor {name}: give a file of this format, of one network"
            )
        return self._arrays[name].shape

    def take(self, name: str) -> Float[np.ndarray, "..."]:
        """A tensor as float32.

        Raises:
            UserError: there is none of that name, or it is not finite.
        """
        self.shape(name)
        self._rest.pop(name, None)
        array = self._arrays[name].astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError(f"{self.file}: {name} is not finite, so its training had diverged")
        return array

    def count(self, pattern: str, step: int = 1) -> int:
        """How many of pattern.format(0), pattern.format(step), ... there are, without a gap."""
        number = 0
        while pattern.format(number * step) in self._arrays:
            number += 1
        return number

    def some(self, pattern: str) -> list[str]:
        """Names of tensors; `*` stands for anything."""
        return fnmatch.filter(self._arrays, pattern)

    def leave(self, *patterns: str) -> None:
        """Leaves out tensors by name; `*` stands for anything."""
        for pattern in patterns:
            for name in fnmatch.filter(list(self._rest), pattern):
                del self._rest[name]
                self._left.append(name)

    def finish(self, format: str) -> list[str]:
        """The tensors that were left out.

        Raises:
            UserError: there are tensors that were neither taken nor left out.
        """
        if self._rest:
            first = next(iter(self._rest))
            raise UserError(
                f"{self.file} holds {len(self._rest)} tensors that {format} does not know, such as "
                f"{first}: it is of another format or network"
            )
        return self._left


def _is_named(prefix: str, letter: str) -> bool:
    """Whether a wrapper is called as networks of that letter are: G_ema, netG, generator."""
    word = {"g": "gen(erator)?", "d": "disc?(riminator)?"}[letter]
    pattern = rf"(net_?|model_?)?({letter}|{word})(_[ab])?(_?ema)?"
    return any(re.fullmatch(pattern, part, re.IGNORECASE) for part in prefix.split("."))


def iterate(
    matrix: Matrix, u: Float[np.ndarray, "k rows"]
) -> tuple[Float[np.ndarray, "k rows"], Float[np.ndarray, "k columns"]]:
    """One power iteration: for code that does one in every pass, also in evaluation.

    Vectors after the first are kept orthogonal to those before.
    """
    lefts: list[np.ndarray] = []
    rights: list[np.ndarray] = []
    for start in u[: min(matrix.shape)].astype(np.float64):
        rights.append(_unit(start @ matrix, rights))
        lefts.append(_unit(matrix @ rights[-1], lefts))
    return np.stack(lefts), np.stack(rights)


def _unit(vector: np.ndarray, before: list[np.ndarray]) -> np.ndarray:
    for unit in before:
        vector = vector - (vector @ unit) * unit
    return vector / max(np.linalg.norm(vector), 1e-12)
