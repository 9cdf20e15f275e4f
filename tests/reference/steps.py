"""Training steps of the reference networks in PyTorch, made as fast as is fair to expect.

Fakes are detached in a discriminator's step, or kept from the generator's where the method says so;
the discriminator's weights are frozen in the generator's; Adam is fused. On a GPU networks compute
in bfloat16 by autocast, and lie in memory as `channels_last`; on CPUs each game says which layout
is faster there.
"""

import dataclasses
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.reference import stylegan2
from tests.reference.port import images_to_torch, to_flax
from tests.reference.translation import PatchGAN, Translator

Step = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Way:
    """How PyTorch runs: where, whether `torch.compile` is asked, and in which layout."""

    device: str = "cpu"
    compiled: bool = False
    channels_last: bool = False

    def prepare(self, *modules: nn.Module) -> None:
        """Brings networks to the device, in this layout."""
        if self.device == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        for module in modules:
            module.to(self.device)
            if self.channels_last:
                module.to(memory_format=torch.channels_last)

    def run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A network, or a method of one, as it is to be called."""
        return torch.compile(function) if self.compiled else function

    def autocast(self) -> torch.autocast:
        """Context of all forward passes."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda")

    def images(self, count: int, shape: tuple[int, int, int]) -> Tensor:
        """Noise of [h, w, c], as images."""
        height, width, channels = shape
        x = torch.randn(count, channels, height, width, device=self.device)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x


class Output(NamedTuple):
    """What a network gives, and all that another framework needs to give the same."""

    network: str  # as the system calls it
    variables: dict[str, Any]  # collections of Flax
    inputs: tuple[Any, ...]  # arrays, images [b, h, w, c], or a tuple of these
    expected: np.ndarray
    method: str | None = None


def adam(way: Way, rate: float, betas: tuple[float, float], *modules: nn.Module) -> Any:
    """Fused Adam for the parameters of networks."""
    parameters = [p for module in modules for p in module.parameters()]
    return torch.optim.Adam(parameters, rate, betas, fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss's gradient."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def first(outputs: Any) -> Tensor:
    """Images or logits, without attention maps; float32."""
    return (outputs[0] if isinstance(outputs, tuple) else outputs).float()


def numpy(x: Tensor) -> np.ndarray:
    """On the host; images [b, h, w, c]."""
    x = x.detach().float().cpu()
    return np.ascontiguousarray(x.movedim(1, -1).numpy() if x.ndim == 4 else x.numpy())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duel:
    """A generator of latents, and of labels where there are classes; hinge loss."""

    module: str  # of tests.reference, with Generator and Discriminator
    shape: tuple[int, int, int]
    batch: int
    rates: tuple[float, float]  # generator, discriminator
    betas: tuple[float, float] = (0.0, 0.9)
    latent: int = 128
    classes: int = 0
    generator: dict[str, Any] = dataclasses.field(default_factory=dict)  # arguments
    discriminator: dict[str, Any] = dataclasses.field(default_factory=dict)
    channels_last: bool = False  # on CPUs

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator."""
        module = import_module(f"tests.reference.{self.module}")
        return module.Generator(**self.generator), module.Discriminator(**self.discriminator)

    @torch.no_grad()
    def outputs(self, way: Way) -> Iterator[Output]:
        """Of both networks."""
        rng = np.random.default_rng(0)
        z = rng.normal(size=(2, self.latent)).astype(np.float32)
        x = rng.uniform(-1, 1, (2, *self.shape)).astype(np.float32)
        label = (rng.integers(0, self.classes, 2),) if self.classes else ()
        inputs = (z, torch.from_numpy(z)), (x, images_to_torch(x))
        names = ("generator", "discriminator")
        for name, network, (ours, theirs) in zip(names, self.networks(), inputs, strict=True):
            variables = to_flax(network)
            way.prepare(network.eval())
            given = (t.to(way.device) for t in (theirs, *map(torch.from_numpy, label)))
            yield Output(name, variables, (ours, *label), numpy(first(network(*given))))

    def step(self, way: Way) -> Step:
        """One update of the discriminator, one of the generator."""
        generator, discriminator = self.networks()
        way.prepare(generator, discriminator)
        of_g, of_d = (
            adam(way, rate, self.betas, network)
            for network, rate in zip((generator, discriminator), self.rates, strict=True)
        )
        make, judge = way.run(generator), way.run(discriminator)
        real = way.images(self.batch, self.shape)

        def labels() -> tuple[Tensor, ...]:
            if not self.classes:
                return ()
            return (torch.randint(self.classes, (self.batch,), device=way.device),)

        real_label = labels()

        def fake() -> tuple[Tensor, ...]:
            label = labels()
            z = torch.randn(self.batch, self.latent, device=way.device)
            return first(make(z, *label)), *label

        def step() -> None:
            with way.autocast():
                with torch.no_grad():
                    images = fake()
                loss = F.relu(1 - first(judge(real, *real_label))).mean()
                loss = loss + F.relu(1 + first(judge(*images))).mean()
            descend(of_d, loss)
            discriminator.requires_grad_(False)
            with way.autocast():
                loss = -first(judge(*fake())).mean()
            descend(of_g, loss)
            discriminator.requires_grad_(True)

        return step


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2:
    """Logistic losses; R1 where asked for, in every step, as a step of its own. No path length."""

    widths: tuple[int, ...]
    batch: int
    rate: float
    channels: int = 3
    latent: int = 512
    mapping: int = 8
    group: int = 4
    residual: bool = True
    gamma: float = 0.0  # weight of R1; 0: none
    betas: tuple[float, float] = (0.0, 0.99)
    channels_last: bool = False  # on CPUs

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        side = 2 << len(self.widths)
        return side, side, self.channels

    def networks(self) -> tuple[stylegan2.Generator, stylegan2.Discriminator]:
        """Generator and discriminator."""
        return (
            stylegan2.Generator(
                self.widths, self.channels, self.latent, self.mapping, stylegan2.SharedConv
            ),
            stylegan2.Discriminator(self.widths, self.channels, self.group, self.residual),
        )

    def noise(self, count: int, device: str) -> list[Tensor]:
        """A map for each layer."""
        sides = [4 << (layer + 1) // 2 for layer in range(2 * len(self.widths) - 1)]
        return [torch.randn(count, 1, side, side, device=device) for side in sides]

    @torch.no_grad()
    def outputs(self, way: Way) -> Iterator[Output]:
        """Of the mapping, the synthesis and the discriminator."""
        generator, discriminator = self.networks()
        params = {"params": stylegan2.generator_to_flax(generator)}
        params = _copied(params)
        z, noise = torch.randn(2, self.latent), self.noise(2, "cpu")
        styles = torch.randn(2, 2 * len(self.widths), self.latent)
        way.prepare(generator)
        on = [x.to(way.device) for x in noise]
        made = numpy(generator.styles(z.to(way.device)))
        yield Output("generator", params, (z.numpy(),), made, "styles")
        images = numpy(generator(styles.to(way.device), on))
        inputs = styles.numpy(), tuple(map(numpy, noise))
        yield Output("generator", params, inputs, images, "synthesize")
        x = torch.rand(self.group, self.channels, *self.shape[:2]) * 2 - 1
        params = _copied({"params": stylegan2.discriminator_to_flax(discriminator)})
        way.prepare(discriminator)
        logits = numpy(discriminator(x.to(way.device)))
        yield Output("discriminator", params, (numpy(x),), logits)

    def step(self, way: Way) -> Step:
        """One update of the generator, one of the discriminator, and one by R1."""
        generator, discriminator = self.networks()
        way.prepare(generator, discriminator)
        of_g, of_d = (
            adam(way, self.rate, self.betas, network) for network in (generator, discriminator)
        )
        mapped, make, judge = map(way.run, (generator.styles, generator, discriminator))
        real = way.images(self.batch, self.shape)

        def fake() -> Tensor:
            styles = mapped(torch.randn(self.batch, self.latent, device=way.device))
            styles = styles[:, None].expand(-1, 2 * len(self.widths), -1)
            return make(styles, self.noise(self.batch, way.device))

        def step() -> None:
            discriminator.requires_grad_(False)
            with way.autocast():
                loss = F.softplus(-judge(fake()).float()).mean()
            descend(of_g, loss)
            discriminator.requires_grad_(True)
            with way.autocast():
                with torch.no_grad():
                    images = fake()
                loss = F.softplus(-judge(real).float()).mean()
                loss = loss + F.softplus(judge(images).float()).mean()
            descend(of_d, loss)
            if self.gamma:
                x = real.detach().requires_grad_()
                with way.autocast():
                    logits = judge(x).float().sum()
                (slopes,) = torch.autograd.grad(logits, x, create_graph=True)
                descend(of_d, self.gamma / 2 * slopes.square().sum((1, 2, 3)).mean())

        return step


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGAN:
    """Both generators in one step, then both discriminators in one, on fakes of pools."""

    shape: tuple[int, int, int]
    batch: int
    width: int = 64
    blocks: int = 9
    rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    cycle: float = 10.0
    identity: float = 5.0
    pool: int = 50
    channels_last: bool = False  # on CPUs

    def networks(self) -> dict[str, nn.Module]:
        """By the names of the system."""
        channels = self.shape[-1]
        return {
            **{
                f"generator_{way}": Translator(channels, self.width, self.blocks)
                for way in ("ab", "ba")
            },
            **{f"discriminator_{kind}": PatchGAN(channels, self.width) for kind in "ab"},
        }

    @torch.no_grad()
    def outputs(self, way: Way) -> Iterator[Output]:
        """Of all four networks."""
        x = np.random.default_rng(0).uniform(-1, 1, (2, *self.shape)).astype(np.float32)
        for name, network in self.networks().items():
            variables = to_flax(network)
            way.prepare(network)
            made = network(images_to_torch(x).to(way.device))
            yield Output(name, variables, (x,), numpy(made))

    def step(self, way: Way) -> Step:
        """Adversarial, cycle and identity losses; then halves of squared errors."""
        networks = self.networks()
        way.prepare(*networks.values())
        *generators, _, _ = networks.values()
        judges = list(networks.values())[2:]
        of_g, of_d = (adam(way, self.rate, self.betas, *each) for each in (generators, judges))
        ab, ba, judge_a, judge_b = map(way.run, networks.values())
        a, b = (way.images(self.batch, self.shape) for _ in "ab")
        pools = [_Pool(self.pool) for _ in "ab"]

        def error(logits: Tensor, target: float) -> Tensor:
            return (logits.float() - target).square().mean()

        def distance(x: Tensor, y: Tensor) -> Tensor:
            return (x.float() - y).abs().mean()

        def step() -> None:
            for judge in judges:
                judge.requires_grad_(False)
            with way.autocast():
                fake_b, fake_a = ab(a), ba(b)
                adversarial = error(judge_a(fake_a), 1.0) + error(judge_b(fake_b), 1.0)
                cycle = distance(ba(fake_b), a) + distance(ab(fake_a), b)
                identity = distance(ba(a), a) + distance(ab(b), b)
            descend(of_g, adversarial + self.cycle * cycle + self.identity * identity)
            for judge in judges:
                judge.requires_grad_(True)
            old = [p.exchange(x.detach()) for p, x in zip(pools, (fake_a, fake_b), strict=True)]
            with way.autocast():
                errors = [
                    error(judge(real), 1.0) + error(judge(fake), 0.0)
                    for judge, real, fake in zip((judge_a, judge_b), (a, b), old, strict=True)
                ]
            descend(of_d, (errors[0] + errors[1]) / 2)

        return step


class _Pool:
    """Fakes that discriminators see again, as in the authors' code."""

    def __init__(self, size: int):
        self.size, self.images = size, []

    def exchange(self, fakes: Tensor) -> Tensor:
        given = []
        for fake in fakes:
            if len(self.images) < self.size:
                self.images.append(fake)
                given.append(fake)
            elif torch.rand(()) > 0.5:
                place = int(torch.randint(self.size, ()))
                given.append(self.images[place])
                self.images[place] = fake
            else:
                given.append(fake)
        return torch.stack(given)


def _copied(tree: Any) -> Any:
    """Arrays that do not change with PyTorch's."""
    if isinstance(tree, dict):
        return {name: _copied(value) for name, value in tree.items()}
    return np.array(tree, order="C")
