"""jaxgan bench CONFIG: times a training step on this machine, its input and its checkpoints."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxgan import config
from jaxgan.backend import keep_compilations
from jaxgan.bench import bench, bench_checkpoint, bench_input
from jaxgan.cli.parse import load_config, parse, take_target
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.parallel import distributed
from jaxgan.ranges import Count, Within

ALONE = distributed.Processes()


def main(argv: list[str]) -> int:
    """Parses, measures, prints."""
    target, options = take_target(argv, "bench", "CONFIG")
    # Here the steps of a run are those that are timed.
    loaded = dataclasses.replace(load_config(target)[0], steps=10)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        experiment: Annotated[config.Experiment, tyro.conf.arg(name="")] = loaded
        vs: Path | None = None
        """Another config, as its file says; its steps are taken in turns with those of CONFIG."""
        stage: Count | None = None
        """Which stage of the system, from 0; None: the last."""
        input: bool = False
        """Measure how fast the images of --data come, too."""
        checkpoint_to: Path | None = None
        """Measure saves into this folder, or bucket, too, and say which --checkpoint.minutes lose
        least. None of them stays, unless this is interrupted: then FOLDER/jaxgan-bench."""
        preemptions_per_day: Annotated[float, Within(1e-3, 1e4)] | None = None
        """How often a run is cut off without time for a last save, for --checkpoint-to; None: 4."""
        step: bool = True
        """Measure the step; --no-step leaves the input and the checkpoints alone."""
        trace: Path | None = None
        """Folder for a profile of three steps, for TensorBoard or Perfetto."""
        json: bool = False
        """Print JSON."""
        join: Annotated[distributed.Processes, tyro.conf.arg(name="")] = ALONE

    given = parse(
        Options,
        options,
        prog=f"jaxgan bench {target}",
        description="Times training steps on random data, without a data set. --steps says how "
        "many. Every field of the config can be set here.",
    )
    _check(given)
    distributed.start(given.join)
    keep_compilations()
    experiments = {target: given.experiment}
    if given.vs is not None:
        # The same file twice is a fair question: with the options given here, and without.
        name = f"{given.vs} (as it is)" if str(given.vs) == target else str(given.vs)
        experiments[name] = config.load(given.vs)
    if given.step:
        results = bench(
            experiments, steps=given.experiment.steps, stage=given.stage, trace=given.trace
        )
    else:
        results = [{"config": target}]
    if given.input:
        found = bench_input(given.experiment, stage=given.stage)
        if given.step:
            found["feeds_step"] = found["images_per_second"] >= results[0]["images_per_second"]
            if found["feeds_step"] and found["hint"]:
                found["hint"] = "input is no bottleneck"
        results[0]["input"] = found
    if given.checkpoint_to is not None:
        results[0]["checkpoint"] = bench_checkpoint(
            given.experiment, given.checkpoint_to, preemptions=given.preemptions_per_day or 4.0
        )
    if distributed.is_first():
        if given.json:
            print(json.dumps(results if given.vs else results[0], indent=2))
        else:
            for line in (line for result in results for line in _lines(result)):
                say(line)
    return 0


def _check(given: Any) -> None:
    """Refuses options that leave nothing to measure, or are for what is not measured."""
    other = given.input or given.checkpoint_to is not None
    if not given.step and (not other or given.vs or given.trace):
        raise UserError(
            "--no-step leaves only --input and --checkpoint-to to measure: give one of them, "
            "without --vs, --trace"
        )
    if given.preemptions_per_day is not None and given.checkpoint_to is None:
        raise UserError("--preemptions-per-day is for --checkpoint-to FOLDER: give that, too")


def _lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    checkpoint = _saves(result["checkpoint"]) if "checkpoint" in result else []
    if "step_ms" not in result:
        input: list[str] = []
        if "input" in result:
            input = [f"  input    {_rate(result['input'])}", *_stages(result["input"])]
        return [result["config"], *input, *checkpoint]
    step, flops = result["step_ms"], result["flops_per_step"]
    head = f"{result['config']}: {result['system']}, {', '.join(result['data'].values())}"
    draws = f" x {result['draws']} draws" if result["draws"] > 1 else ""
    micro = f" in {result['micro']} micro-batches" if result["micro"] > 1 else ""
    head += f", batch {result['batch']}{draws}{micro}, {result['dtype']}"
    rate = _number(result["images_per_second"])
    spread = f"{_number(step['min'])} to {_number(step['max'])}, {result['steps']} steps"
    cached = ", from the cache of compiled programs" if result["compile_cached"] else ""
    lines = [
        f"{head}, on {result['devices']} x {result['device']}",
        f"  compile  {result['compile_seconds']:.1f} s{cached}",
        f"  step     {_number(step['median'])} ms [{spread}], {rate} images/s",
    ]
    share = ""
    if result["utilization"] is not None:
        peak = result["peak_flops_per_second"] / result["devices"]
        share = f", {result['utilization']:.1%} of {_number(peak / 1e12)} TFLOP/s a device"
    lines.append(
        f"  work     {_number(flops / 1e9)} GFLOP a step, "
        f"{_number(result['flops_per_second'] / 1e9)} GFLOP/s{share}"
    )
    memory = []
    if result["peak_memory_bytes"] is not None:
        memory.append(f"{result['peak_memory_bytes'] / 2**30:.2f} GiB at most")
    if result["program_memory_bytes"] is not None:
        memory.append(f"{result['program_memory_bytes'] / 2**30:.2f} GiB a device by the compiler")
    if memory:
        lines.append(f"  memory   {', '.join(memory)}")
    if "input" in result:
        feeds = "feeds" if result["input"]["feeds_step"] else "does not feed"
        lines.append(f"  input    {_rate(result['input'])} {feeds} the step's {rate}")
        lines += _stages(result["input"])
    lines += checkpoint
    lines += (
        f"  {ratio['ratio']:.2f} times as long as {other} [{ratio['min']:.2f} to "
        f"{ratio['max']:.2f} in a turn]"
        for other, ratio in result["vs"].items()
    )
    return lines


def _saves(found: dict[str, Any]) -> list[str]:
    """Of a checkpoint, and of the interval between two."""
    wait, done, read = (_number(found[f"{n}_seconds"]) for n in ("wait", "written", "restore"))
    size, rate = _number(found["bytes"] / 2**30), found["preemptions_per_day"]
    lost, own = (
        f"{found['lost']:.2%} of the time at {rate:g} preemptions a day",
        found["lost_as_set"],
    )
    instead = "" if own is None else f" instead of {own:.2%} as it is set"
    minutes = _number(found["minutes"])
    return [
        f"  saving   training waits {wait} s for {size} GiB, written in {done} s, read in {read} s",
        f"  interval --checkpoint.minutes {minutes} loses {lost}{instead}",
    ]


def _rate(found: dict[str, Any]) -> str:
    return f"{found['source']}: {_number(found['images_per_second'])} images/s"


def _stages(found: dict[str, Any]) -> list[str]:
    """What images cost on their way, and what may help."""
    if found["stages_us"] is None:
        return []
    each = ", ".join(f"{name} {_number(us)}" for name, us in found["stages_us"].items())
    return [
        f"           us an image: {each}",
        f"           most is to {found['bottleneck']}: {found['hint']}",
    ]


def _number(value: float) -> str:
    """Three digits or more, without exponents."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
