"""Our step beside a training loop in PyTorch: the same weights, data and noise on both sides.

Loops are in float64, so that what differs is ours: float32, and what is done. The noise is what our
step draws: the key of an update is that of the seed, folded with the iteration, the player's number
and the update's, and each row of a draw has its own (jaxgan/README.md, "Determinism").
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from jaxgan import make_step
from jaxgan.convert import module_of
from jaxgan.convert.tensors import Tensors
from jaxgan.state import State
from jaxgan.system import stages_of
from jaxgan.view import View

SEED = 5
ITERATIONS = 5


def key_of(iteration, player, update=0):
    """The key that a player's loss gets."""
    key = jax.random.key(SEED)
    for number in (iteration, player, update):
        key = jax.random.fold_in(key, number)
    return key


def view_of(micro=1, part=0):
    """What draws as a loss's view does, in a micro-batch."""
    return View({}, {}, {}, train=True, micro=(micro, part))


def tensors(tree):
    """Arrays as PyTorch has them: float64, images [b, c, h, w]."""

    def convert(x):
        x = np.asarray(x)
        if x.dtype.kind != "f":
            return torch.from_numpy(x.astype(np.int64))
        return torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x.copy()).double()

    return jax.tree.map(convert, tree)


def latents_of(system, count, iteration, player, update=0, *, micro=1, part=0):
    """(z,) or (z, label) of a draw."""
    view = view_of(micro, part)
    drawn = view.draw(system.latents(), key_of(iteration, player, update), count)
    return tuple(tensors(drawn[name]) for name in ("z", "label") if name in drawn)


def train(system, params, stats, batches, *, micro=1, memory=None):
    """Our State after these batches, on the host."""
    params, stats = jax.tree.map(jnp.asarray, (params, stats))
    players = {p.slot: p for stage in stages_of(system) for p in stage.players}
    state = State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        memory=memory if memory is not None else system.memory(jax.random.key(0)),
        opt={
            slot: p.optimizer.init({name: params[name] for name in p.owns})
            for slot, p in players.items()
        },
        ema={
            name: {
                "params": params[name],
                **{key: tree for key, tree in stats[name].items() if key == "batch_stats"},
            }
            for name in system.ema()
        },
    )
    state = jax.tree.map(jnp.array, state)  # no array twice: the step takes them
    step = make_step(system, seed=SEED, micro=micro)
    for batch in batches:
        state, _ = step(state, batch)
    return jax.device_get(state)


def assert_updates(got, want, start, tolerance=1e-3):
    """Each tensor's way from the start is the wanted one, relative to the latter's length.

    One number in 300 may go elsewhere: Adam makes a full step of a gradient that is all rounding.
    What rounding alone moves on their side, such as a bias that batch norm subtracts, must stay.
    """
    ways = jax.tree.map(lambda a, b: np.asarray(a, np.float64) - b, want, start)
    least = 1e-5 * max(np.abs(way).max() for way in jax.tree.leaves(ways))
    wrong, moved = [], []

    def check(path, got, way, start):
        errors = np.sort(np.abs(np.asarray(got, np.float64) - start - way), axis=None)
        error = np.linalg.norm(errors[: errors.size - errors.size // 300])
        length, floor = np.linalg.norm(way), least * np.size(way) ** 0.5
        moved.append(length > floor)
        rounding = ITERATIONS * 2**-24 * np.linalg.norm(start)  # of the parameters themselves
        if error > tolerance * (length + floor) + rounding:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            wrong.append(f"{name}: {error / max(length, 1e-30):.2g} of a way of {length:.2g}")

    jax.tree_util.tree_map_with_path(check, got, ways, start)
    assert not wrong, "\n".join(wrong)
    assert np.mean(moved) > 0.6


def converted(format, **networks):
    """(system, params, stats) of PyTorch's networks, or of their tensors, as they are imported."""
    module = module_of(format)
    files = {}
    for name, state in networks.items():
        state = state.state_dict() if isinstance(state, nn.Module) else state
        files[name] = Tensors({n: x.detach().numpy().copy() for n, x in state.items()}, name)
    system = module.recognise(files).system
    read = {name: module.table(system, name, file).read(file) for name, file in files.items()}
    return system, *({name: each[k] for name, each in read.items()} for k in (0, 1))


def adam(network, rate, betas, epsilon=1e-8):
    """PyTorch's, of what a network learns."""
    learned = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.Adam(learned, rate, betas, epsilon)


def descend(optimizer, *terms):
    """A step down the gradient of the sum; of parameters that it does not reach, it is 0.

    PyTorch's Adam passes over those, with the step that it counts and the average that it keeps.
    """
    optimizer.zero_grad()
    sum(terms).backward()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


class Spectral:
    """The singular vectors of a network's layers, which move when it is said.

    In the authors' code they move in every pass, here once an update of the network.
    """

    def __init__(self, network):
        self.layers = []
        for module in network.modules():
            if hasattr(module, "weight_orig"):
                self.layers.append(_Hooked(module))
            for u, weight in (("u0", "weight"), ("sn_u", "weight"), ("weight_u", "weight_bar")):
                if hasattr(module, u) and hasattr(module, weight):
                    self.layers.append(_Layer(module, getattr(module, weight), getattr(module, u)))
        for module in network.modules():
            if hasattr(module, "module"):  # heykeetae's, around a layer
                self._around(module)

    def _around(self, module):
        layer = next(each for each in self.layers if each.module is module.module)

        def forward(x):
            module.module.weight = layer.divided()
            return module.module(x)

        module.forward = forward

    def advance(self):
        """One power iteration of every layer."""
        for layer in self.layers:
            layer.advance()

    def release(self):
        """Leaves nothing in the network that its files do not hold."""
        for layer in self.layers:
            layer.module.__dict__.pop("weight", None)


class _Layer:
    """One whose `normalised` gives the weight over its first singular value."""

    def __init__(self, module, weight, u):
        self.module, self.weight, self.u = module, weight, u
        self.advance()  # as converters do, and that code in evaluation
        module.normalised = self.divided

    @torch.no_grad()
    def advance(self):
        matrix = self.weight.flatten(1)
        self.v = nn.functional.normalize(self.u.reshape(1, -1) @ matrix)
        self.u.copy_(nn.functional.normalize(self.v @ matrix.T).reshape(self.u.shape))

    def divided(self):
        sigma = self.u.reshape(1, -1).detach() @ self.weight.flatten(1) @ self.v.T
        return self.weight / sigma


class _Hooked:
    """One of `torch.nn.utils.spectral_norm`, which iterates in training mode alone."""

    def __init__(self, module):
        hooks = module._forward_pre_hooks.values()
        self.module, self.hook = module, next(h for h in hooks if hasattr(h, "compute_weight"))
        module.eval()

    @torch.no_grad()
    def advance(self):
        self.hook.compute_weight(self.module, do_power_iteration=True)


class Running:
    """A network's tensors with running variances as ours are: of biased estimates.

    PyTorch's are of unbiased ones: n / (n - 1) of those, n values a channel in a batch.
    """

    def __init__(self, network, keep=0.9):
        self.network, self.keep, self.seen = network, keep, {}
        self.start = {n: x.clone() for n, x in network.state_dict().items() if n.endswith("_var")}
        for path, module in network.named_modules():
            if any(f"{path}{end}" in self.start for end in (".running_var", ".stored_var")):
                module.register_forward_pre_hook(self._count(path))

    def _count(self, path):
        def count(module, inputs):
            n, passes = inputs[0].numel() // inputs[0].shape[1], self.seen.get(path, (0, 0))[1]
            self.seen[path] = n, passes + module.training

        return count

    @contextlib.contextmanager
    def still(self):
        """In it the network's running statistics do not move."""
        before = {
            n: x.clone()
            for n, x in self.network.named_buffers()
            if "running_" in n or "stored_" in n
        }
        seen = dict(self.seen)
        yield self.network
        for name, value in before.items():
            self.network.get_buffer(name).copy_(value)
        self.seen = seen

    def state(self):
        """Its tensors."""
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        for name, start in self.start.items():
            n, passes = self.seen[name.rpartition(".")[0]]
            begun = self.keep**passes * start
            state[name] = begun + (state[name] - begun) * (n - 1) / n
        return state
