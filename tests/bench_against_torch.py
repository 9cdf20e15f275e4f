"""Times a training step against the same networks in PyTorch, in turns; run by hand.

    python tests/bench_against_torch.py sagan64 sngan32 [--rounds 9]

One step is one update of the discriminator and one of the generator, with Adam, on one batch. The
PyTorch side is fair: fakes are detached in the discriminator's step, and the discriminator's
weights are frozen in the generator's. First the networks of both sides are given the same weights
and their outputs compared. Peak memory is that of a process which does nothing but such steps, and
has loaded nothing of the other side.
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

    def jax_system(self) -> Any:
        return getattr(import_module(f"jaxgan.systems.{self.module}"), self.system)(**self.options)

    def torch_networks(self) -> tuple[Any, Any]:
        reference = import_module(f"tests.reference.{self.module}")
        return reference.Generator(), reference.Discriminator()


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
    for name, module, mine, theirs in (
        ("generator", generator, z, torch.from_numpy(z)),
        ("discriminator", discriminator, x, images_to_torch(x)),
    ):
        module.eval()
        with torch.no_grad():
            want = first(module(theirs)).numpy()
        got = np.asarray(first(networks[name].apply(to_flax(module), mine, train=False)))
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

    def fake() -> torch.Tensor:
        return first(generator(torch.randn(case.batch, case.latent)))

    def step() -> None:
        with torch.no_grad():
            images = fake()
        loss = F.relu(1 - first(discriminator(real))).mean()
        loss = loss + F.relu(1 + first(discriminator(images))).mean()
        adam[1].zero_grad()
        loss.backward()
        adam[1].step()
        discriminator.requires_grad_(False)
        loss = -first(discriminator(fake())).mean()
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

    keep_compilations()
    system = case.jax_system()
    advance = jaxgan.make_step(system)
    state = jaxgan.init(system)
    images = np.random.default_rng(0).normal(size=(case.batch, *case.shape))
    batch = {"image": jnp.asarray(images, jnp.float32)}

    def step() -> None:
        nonlocal state
        state, _ = advance(state, batch)
        jax.block_until_ready(state)

    return step


STEPS = {"jax": jax_step, "torch": torch_step}


def peak_memory(name: str, side: str) -> float:
    """GiB of a process that does a few steps."""
    command = [sys.executable, __file__, name, "--peak-of", side]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(out.split()[-1])


def compare(name: str, rounds: int) -> None:
    case = CASES[name]
    print(f"{name}, batch {case.batch}: outputs differ by {check_agreement(case):.1e} at most")
    steps = {side: make(case) for side, make in STEPS.items()}
    begin = time.perf_counter()
    steps["jax"]()
    print(f"  first jax step {time.perf_counter() - begin:.1f} s")
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
        memory = peak_memory(name, side)
        print(f"  {side:6}{middle:8.0f} ms [{low:.0f}-{high:.0f}], peak {memory:.2f} GiB")
    ratios = sorted(t / j for t, j in zip(times["torch"], times["jax"], strict=True))
    middle = statistics.median(ratios)
    print(f"  torch / jax {middle:.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}] over {rounds} turns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
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
        compare(name, options.rounds)


if __name__ == "__main__":
    main()
