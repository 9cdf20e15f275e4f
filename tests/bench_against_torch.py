"""Times a training step against the same networks in PyTorch, in turns; run by hand.

    python tests/bench_against_torch.py sagan64 sngan32 [--rounds 9]

    python tests/bench_against_torch.py efficientnet inception

One step is one update of the discriminator and one of the generator, with Adam, on one batch. The
PyTorch side is fair: fakes are detached in the discriminator's step, and the discriminator's
weights are frozen in the generator's. First the networks of both sides are given the same weights
and their outputs compared. Peak memory is that of a process which does nothing but such steps, and
has loaded nothing of the other side. For the feature extractors a step is the features of 50
images of 32x32 pixels, resizing included; Inception has random weights, and its other side is
`pip install --no-deps torch-fidelity`.
"""

import argparse
import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))


@dataclasses.dataclass
class Case:
    """A system and its networks in PyTorch; each side loads nothing of the other's framework."""

    module: str  # of jaxgan.systems and of tests.reference
    system: str
    options: dict[str, Any]
    batch: int
    rates: tuple[float, float]  # generator, discriminator
    shape: tuple[int, int, int]
    latent: int = 128
    betas: tuple[float, float] = (0.0, 0.9)
    classes: int = 0
    reference: tuple[dict[str, Any], dict[str, Any]] = ({}, {})  # arguments in PyTorch

    def jax_system(self) -> Any:
        return getattr(import_module(f"jaxgan.systems.{self.module}"), self.system)(**self.options)

    def torch_networks(self) -> tuple[Any, Any]:
        reference = import_module(f"tests.reference.{self.module}")
        generator, discriminator = self.reference
        return reference.Generator(**generator), reference.Discriminator(**discriminator)


CASES = {
    "sagan64": Case("sagan", "SAGAN", {}, 16, (1e-4, 4e-4), (64, 64, 3)),
    "sngan32": Case(
        "sngan",
        "SNGAN",
        {"discriminator_updates": 1, "generator_batch": 1},
        32,
        (2e-4, 2e-4),
        (32, 32, 3),
    ),
    "biggan32": Case(
        "biggan",
        "BigGAN",
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
        32,
        (2e-4, 2e-4),
        (32, 32, 3),
        betas=(0.0, 0.999),
        classes=10,
    ),
    "biggan64": Case(
        "biggan",
        "BigGAN",
        {
            "shape": (64, 64, 3),
            "channels": 32,
            "latent": 100,
            "generator_attention": (32,),
            "discriminator_attention": (32,),
            "generator_rate": 1e-4,
            "discriminator_rate": 4e-4,
            "adam_epsilon": 1e-8,
            "discriminator_updates": 1,
            "ema_decay": 0.0,
        },
        16,
        (1e-4, 4e-4),
        (64, 64, 3),
        latent=100,
        betas=(0.0, 0.999),
        classes=1000,
        reference=(
            {
                "size": 64,
                "width": 32,
                "classes": 1000,
                "latent": 100,
                "shared": 128,
                "attention": 32,
            },
            {"size": 64, "width": 32, "classes": 1000, "attended": (1,)},
        ),
    ),
}


def first(outputs: Any) -> Any:
    """Images or logits, without attention maps."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def check_agreement(case: Case) -> float:
    """Largest difference of images and logits, both sides with PyTorch's weights."""
    import torch

    from tests.reference.port import images_to_torch, to_flax

    networks, worst = case.jax_system().networks(), 0.0
    generator, discriminator = case.torch_networks()
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, case.latent)).astype(np.float32)
    x = rng.uniform(-1, 1, (2, *case.shape)).astype(np.float32)
    label = (rng.integers(0, case.classes, 2),) if case.classes else ()
    for name, module, mine, theirs in (
        ("generator", generator, z, torch.from_numpy(z)),
        ("discriminator", discriminator, x, images_to_torch(x)),
    ):
        module.eval()
        with torch.no_grad():
            want = first(module(theirs, *map(torch.from_numpy, label))).numpy()
        got = first(networks[name].apply(to_flax(module), mine, *label, train=False))
        got = np.asarray(got)
        want = np.moveaxis(want, 1, -1) if want.ndim == 4 else want
        worst = max(worst, float(np.abs(got - want).max()))
    return worst


def torch_step(case: Case) -> Callable[[], None]:
    import torch
    from torch.nn import functional as F

    generator, discriminator = case.torch_networks()
    adam = [
        torch.optim.Adam(module.parameters(), rate, case.betas)
        for module, rate in zip((generator, discriminator), case.rates, strict=True)
    ]
    real = torch.randn(case.batch, case.shape[-1], *case.shape[:2])

    def draw_labels() -> tuple[torch.Tensor, ...]:
        return (torch.randint(case.classes, (case.batch,)),) if case.classes else ()

    real_label = draw_labels()

    def fake() -> tuple[torch.Tensor, ...]:
        label = draw_labels()
        return first(generator(torch.randn(case.batch, case.latent), *label)), *label

    def step() -> None:
        with torch.no_grad():
            images = fake()
        loss = F.relu(1 - first(discriminator(real, *real_label))).mean()
        loss = loss + F.relu(1 + first(discriminator(*images))).mean()
        adam[1].zero_grad()
        loss.backward()
        adam[1].step()
        discriminator.requires_grad_(False)
        loss = -first(discriminator(*fake())).mean()
        adam[0].zero_grad()
        loss.backward()
        adam[0].step()
        discriminator.requires_grad_(True)

    return step


def jax_step(case: Case) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    import jaxgan
    from jaxgan.backend import keep_compilations
    from jaxgan.training.step import compile_step

    keep_compilations()
    system = case.jax_system()
    state = jaxgan.init(system)
    rng = np.random.default_rng(0)
    batch = {"image": jnp.asarray(rng.normal(size=(case.batch, *case.shape)), jnp.float32)}
    if case.classes:
        batch["label"] = jnp.asarray(rng.integers(0, case.classes, case.batch), jnp.int32)
    advance = compile_step(jaxgan.make_step(system), state, batch)  # as training does

    def step() -> None:
        nonlocal state
        state, _ = advance(state, batch)
        jax.block_until_ready(state)

    return step


def jax_features(name: str) -> Callable[[], np.ndarray]:
    import jax

    from jaxgan.metrics import features, inception

    if name == "inception":
        params = inception.params_from_torch(
            {key: value.numpy() for key, value in torch_inception().state_dict().items()}
        )
        apply = jax.jit(inception.apply)
    else:
        extractor = features.extractor(name)
        params, apply = extractor.params, jax.jit(extractor.apply)
    params = jax.device_put(params)
    return lambda: np.asarray(apply(params, IMAGES)[0])


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


IMAGES = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), np.uint8)
EXTRACTORS = ("efficientnet", "inception")
STEPS = {"jax": jax_step, "torch": torch_step}


def peak_memory(name: str, side: str) -> float:
    """GiB of a process that does a few steps."""
    command = [sys.executable, __file__, name, "--peak-of", side]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(out.split()[-1])


def compare(name: str, rounds: int) -> None:
    case = CASES[name]
    print(f"{name}, batch {case.batch}: outputs differ by {check_agreement(case):.1e} at most")
    in_turns({side: make(case) for side, make in STEPS.items()}, rounds)
    for side in STEPS:
        print(f"  {side:6}peak {peak_memory(name, side):.2f} GiB")


def compare_features(name: str, rounds: int) -> None:
    steps = {"jax": jax_features(name), "torch": torch_features(name)}
    ours, theirs = (step() for step in steps.values())
    print(f"{name}, {len(IMAGES)} images: features differ by {np.abs(ours - theirs).max():.1e}")
    in_turns(steps, rounds)


def in_turns(steps: dict[str, Callable[[], Any]], rounds: int) -> None:
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
        print(f"  {side:6}{middle:8.0f} ms [{low:.0f}-{high:.0f}]")
    ratios = sorted(t / j for t, j in zip(times["torch"], times["jax"], strict=True))
    middle = statistics.median(ratios)
    print(f"  torch / jax {middle:.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}] over {rounds} turns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "case", nargs="*", default=list(CASES), help=f"of {', '.join((*CASES, *EXTRACTORS))}"
    )
    parser.add_argument("--rounds", type=int, default=9, help="steps of each side, in turns")
    parser.add_argument("--peak-of", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        step = STEPS[options.peak_of](CASES[options.case[0]])
        for _ in range(3):
            step()
        # Not getrusage, whose peak a child begins with that of its parent.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 2**20)
        return
    for name in options.case:
        (compare_features if name in EXTRACTORS else compare)(name, options.rounds)


if __name__ == "__main__":
    main()
