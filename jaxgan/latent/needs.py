"""What a tool needs of a system, and who has it."""

from jaxgan import config
from jaxgan.errors import UserError
from jaxgan.metrics.base import warn
from jaxgan.run.open import Run


def require(run: Run, what: str, *uses: str) -> None:
    """Refuses a run whose system lacks uses that a tool needs.

    Args:
        run: that the tool is asked to work on.
        what: the tool does, after "cannot".
        uses: that it needs.

    Raises:
        UserError: says which are missing, and which shipped systems have all of them.
    """
    has = run.system.uses()
    missing = [use for use in uses if use not in has]
    if not missing:
        return
    known = ", ".join(having(*uses)) or "none"
    raise UserError(
        f"{run.name} cannot {what} ({' and '.join(missing)} missing): it has {', '.join(has)}; "
        f"shipped systems that can: {known}"
    )


def tell_of_others(run: Run, digest: str, what: str) -> None:
    """Says that something was found in other networks than the run's, where it was.

    Args:
        run: that it is used on.
        digest: of the networks that it was found in (`Run.networks_sha256`); "": not known.
        what: it is.
    """
    if digest and digest != run.networks_sha256:
        warn(
            f"{what} were found in another run, or at another step, than {run.name}: they may mean "
            "nothing here"
        )


def having(*uses: str) -> list[str]:
    """Names of the shipped systems, as configs have them, that have all these uses."""
    found = set()
    for path in config.shipped_configs().glob("*.py"):
        system = config.load(path).system
        if set(uses) <= set(system.uses()):
            found.add(type(system).__name__)
    return sorted(found)
