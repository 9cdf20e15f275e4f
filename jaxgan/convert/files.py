"""What a format's module says of the files of a training."""

import dataclasses
from typing import NamedTuple

from jaxgan.system import System


class Part(NamedTuple):
    """A network that a file holds, or the average of its parameters."""

    network: str
    average: bool = False


@dataclasses.dataclass(frozen=True)
class Found:
    """The system whose networks files hold.

    Attributes:
        system: with the sizes that the files' tensors have.
        guessed: {field of the system: why it is so}: what files do not say, and import chooses.
        notes: sentences for who imports: where the networks differ from their originals.
    """

    system: System
    guessed: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
