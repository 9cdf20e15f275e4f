"""jaxgan train CONFIG|RUN: trains a system, or resumes a run where it stopped."""

import dataclasses
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxgan import config
from jaxgan.backend import keep_compilations
from jaxgan.bucket import as_path
from jaxgan.cli.parse import Opening, load_config, parse, take_target, trusts
from jaxgan.code import Code
from jaxgan.console import say
from jaxgan.describe import next_command
from jaxgan.errors import Unwritten, UserError
from jaxgan.parallel import distributed
from jaxgan.ranges import Positive
from jaxgan.run import Run, train
from jaxgan.run.code import finder, with_own_data
from jaxgan.run.folder import CHECKPOINTS, is_run
from jaxgan.run.train import Look, Stopped
from jaxgan.training.checkpoint import Diverged, saved_steps

ALONE = distributed.Processes()
LOOK = Look()


def main(argv: list[str]) -> int:
    """Parses, trains, and prints where the run is."""
    target, options = take_target(argv, "train", "CONFIG|RUN")
    of_run = is_run(target)
    trust, accept = trusts(options), "--accept-code" in options
    loaded, code = _opened(as_path(target), trust, accept) if of_run else load_config(target)
    folder = as_path(target) if of_run else Path("runs") / Path(target).stem

    # Built here, for the defaults are those of the config file.
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options(Opening):
        experiment: Annotated[config.Experiment, tyro.conf.arg(name="")] = loaded
        accept_code: bool = False
        """Go on with code of a config, or in RUN/code, that has changed since the run was trained;
        the run records it."""
        out: Path = folder
        """Folder of the run; an existing run of the same settings is resumed."""
        overfit: Positive | None = None
        """Learn from so many items alone, from all over the data: whether the system can."""
        look: Annotated[Look, tyro.conf.arg(name="")] = LOOK
        join: Annotated[distributed.Processes, tyro.conf.arg(name="")] = ALONE

    given = parse(
        Options,
        options,
        prog=f"jaxgan train {target}",
        description="Trains a system. Every field of the config can be set here.",
    )
    experiment = given.experiment if given.overfit is None else _few(given)
    distributed.start(given.join)
    keep_compilations()
    try:
        run = train(
            experiment,
            given.out,
            look=given.look,
            code=code,
            accept_code=given.accept_code,
            trust_code=given.trust_code,
        )
    except Stopped as stopped:
        say(f"jaxgan: {stopped}; the same command resumes", file=sys.stderr)
        return 75 if stopped.signal == signal.SIGTERM else 130
    except Unwritten as unwritten:
        kept = saved_steps(given.out / CHECKPOINTS)
        rest = f"saved up to step {max(kept)}" if kept else "nothing is saved"
        raise Unwritten(
            f"{unwritten}; {rest}: mend it, and the same command resumes"
        ) from unwritten
    except Diverged as diverged:
        kept = saved_steps(given.out / CHECKPOINTS)
        rest = f"the last good checkpoint is in {given.out}" if kept else "before any checkpoint"
        print(f"jaxgan: diverged: {diverged}; {rest}", file=sys.stderr)
        return 1
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"out of memory ({str(error).splitlines()[0][:120]}): give a smaller --batch, or the "
            "same one in parts with --micro 2"
        ) from error
    step = run.step  # reading checkpoints takes all processes
    if distributed.is_first():
        say(f"{run.folder}: trained to step {step}; see {run.folder}/samples, or")
        say(f"  {next_command(run.system, run.folder)}")
    return 0


def _few(given: Any) -> config.Experiment:
    """The experiment on as few items as were asked for."""
    settings = given.experiment.data
    if not isinstance(settings.source, str):
        raise UserError("--overfit takes items of data that have a name: leave it out")
    source = f"few:{given.overfit}:{settings.source}"
    return dataclasses.replace(given.experiment, data=dataclasses.replace(settings, source=source))


def _opened(folder: Path, trust: bool, accept: bool) -> tuple[config.Experiment, Code | None]:
    """The experiment of a run, with the run's own code, as it trains on."""
    run = Run(folder, find=finder(folder, trust=trust, accept=accept))
    return with_own_data(run.experiment, folder, trust=trust, accept=accept)
