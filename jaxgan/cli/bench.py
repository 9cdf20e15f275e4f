"""jaxgan bench CONFIG: times a training step on this machine, and the input that feeds it."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxgan import config
from jaxgan.backend import keep_compilations
from jaxgan.bench import bench, bench_input
from jaxgan.cli.parse import load_config, parse, take_target
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.parallel import distributed
from jaxgan.ranges import Count

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
        step: bool = True
        """Measure the step; --no-step leaves the input alone."""
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
    if not given.step and (not given.input or given.vs or given.trace):
        raise UserError("--no-step leaves only --input to measure: give it, without --vs, --trace")
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
        results[0]["input"] = found
    if distributed.is_first():
        if given.json:
            print(json.dumps(results if given.vs else results[0], indent=2))
        else:
            for line in (line for result in results for line in _lines(result)):
                say(line)
    return 0


def _lines(result: dict[str, Any]) -> list[str]:
    """A result for people."""
    if "step_ms" not in result:
        found = result["input"]
        return [result["config"], f"  input    {_rate(found)}", *_stages(found)]
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
    lines += (
        f"  {ratio['ratio']:.2f} times as long as {other} [{ratio['min']:.2f} to "
        f"{ratio['max']:.2f} in a turn]"
        for other, ratio in result["vs"].items()
    )
    return lines


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
