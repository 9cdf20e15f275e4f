"""Dual Motion GAN: the next frame of a clip, painted and moved, by two generators that teach
each other.

Liang, Lee, Dai, Xing, "Dual Motion GAN for Future-Flow Embedded Video Prediction", ICCV 2017. An
encoder with a recurrent layer makes of the frames so far a distribution of latents. Of a latent one
generator makes the next frame, the other the flow that leads to it from the last frame. A frame is
also had by warping the last one along the flow, and a flow by estimating it between the last frame
and the painted one. One discriminator judges frames of both origins, the other flows of both: so
each generator learns from both discriminators. The prediction is both frames fused.

There is no public code of the authors', and the paper has no table of layers; layers are those of
a table of the project's own, for 64 pixels: an encoder of four halvings, one ConvLSTM
(`lstm_layers`: the paper's followers have three), generators of transposed convolutions with
instance norms, PatchGANs of 70 pixels. What is chosen, too:

- The flow estimator learns by itself, to warp one real frame to the next, with a weight on how
  unsmooth flows are. The generators' losses pass through it and leave it as it is.
- The discriminator of frames sees the last frame beside the one that it judges.
- Distances are means of absolute differences: of the frames painted, warped and fused; and of flows
  predicted and estimated, to those estimated between real frames.
- A turn is the generators', the discriminators', which see the same fakes, the estimator's.
- Frames are fused by a 1x1 convolution, which begins as their mean.
- Latents are drawn in training; a prediction is made of their means.

Flows are in pixels, to the right and down, and lead back: what is at p in the next frame was at
p + flow(p) in the last one. Several frames ahead are predicted by feeding predictions back.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxgan import losses
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Field, Flow, FromData, Label, Normal
from jaxgan.nn.initializers import TORCH_TRANSPOSED, Init
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import InstanceNorm
from jaxgan.nn.patchgan import PatchGAN, smallest_side
from jaxgan.nn.recurrent import ConvLSTMCell
from jaxgan.nn.warp import warp
from jaxgan.ranges import DecayRate, Few, Halvings, Positive, Rate, Shape, Weight
from jaxgan.system import Examples, Metrics, Player, Stage, System, Use
from jaxgan.systems.common.generative import mean_logits
from jaxgan.view import View

ESTIMATOR = 3
"""Halvings of the flow estimator."""

GENERATORS = ("encoder", "frame_generator", "flow_generator", "fuse")
DISCRIMINATORS = ("frame_discriminator", "flow_discriminator")

Frame = Float[Array, "b h w c"]
FlowMap = Float[Array, "b h w 2"]
Map = Float[Array, "b y x k"]


class Encoder(nn.Module):
    """Frames so far to the mean and the logarithm of the variance of latents.

    Attributes:
        width: channels after the first convolution; each after doubles them.
        halvings: convolutions of stride two.
        latent: channels of a latent.
        lstm_layers: ConvLSTMs, one on top of the other.
        dtype: compute type of the convolutions.
    """

    width: int = 64
    halvings: int = 4
    latent: int = 128
    lstm_layers: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, clip: Float[Array, "b t h w c"], *, train: bool) -> tuple[Map, Map]:
        """[b, t, h, w, c] to two maps [b, h / 2^halvings, w / 2^halvings, latent]."""
        del train
        h = clip.reshape(-1, *clip.shape[2:])
        for layer in range(self.halvings):
            conv = Conv(
                self.width << layer,
                kernel_size=4,
                stride=2,
                padding=1,
                dtype=self.dtype,
                name=f"conv{layer + 1}",
            )
            h = nn.leaky_relu(conv(h), 0.2)
        frames = list(jnp.moveaxis(h.reshape(*clip.shape[:2], *h.shape[1:]), 1, 0))
        features = h.shape[-1]
        for layer in range(self.lstm_layers):
            cell = ConvLSTMCell(features, dtype=self.dtype, name=f"lstm{layer + 1}")
            state, states = None, []
            for frame in frames:
                state = cell(frame, state)
                states.append(state[0])
            frames = states
        both = Conv(2 * self.latent, kernel_size=1, dtype=self.dtype, name="latent")(frames[-1])
        mean, log_variance = jnp.split(both.astype(jnp.float32), 2, -1)
        return mean, log_variance


class Generator(nn.Module):
    """Latents to a frame, or to a flow.

    Attributes:
        width: channels before the last layer; each layer before has twice as many.
        doublings: transposed convolutions of stride two.
        channels: of what is made.
        flow: what is made is a flow, in pixels; otherwise a frame in [-1, 1].
        dtype: compute type.
    """

    width: int = 64
    doublings: int = 4
    channels: int = 3
    flow: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Map, *, train: bool) -> Frame:
        """[b, y, x, k] to [b, y * 2^doublings, x * 2^doublings, channels], float32."""
        del train

        def between(h: Array, name: str) -> Array:
            return nn.relu(InstanceNorm(name=name)(h))

        wide = self.width << (self.doublings - 1)
        first = Conv(wide, inert_bias=True, dtype=self.dtype, name="first")
        h = between(first(z), "norm")
        for layer in range(1, self.doublings + 1):
            last = layer == self.doublings
            up = ConvTranspose(
                self.channels if last else wide >> layer,
                inert_bias=not last,
                initializer=TORCH_TRANSPOSED,
                dtype=self.dtype,
                name=f"up{layer}",
            )
            h = up(h) if last else between(up(h), f"norm{layer}")
        h = h.astype(jnp.float32)
        return h if self.flow else jnp.tanh(h)


class Estimator(nn.Module):
    """Two frames to the flow by which the first, warped, becomes the second.

    Attributes:
        width: channels after the first convolution.
        dtype: compute type.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, before: Frame, after: Frame, *, train: bool) -> FlowMap:
        """Frames of a multiple of 8 pixels a side to a float32 flow in pixels."""
        del train
        h = jnp.concatenate([before, after], -1)
        for layer in range(ESTIMATOR):
            conv = Conv(
                self.width << layer,
                kernel_size=4,
                stride=2,
                padding=1,
                dtype=self.dtype,
                name=f"conv{layer + 1}",
            )
            h = nn.leaky_relu(conv(h), 0.2)
        for layer in range(1, ESTIMATOR + 1):
            last = layer == ESTIMATOR
            up = ConvTranspose(
                2 if last else self.width << (ESTIMATOR - 1 - layer),
                initializer=TORCH_TRANSPOSED,
                dtype=self.dtype,
                name=f"up{layer}",
            )
            h = up(h) if last else nn.relu(up(h))
        return h.astype(jnp.float32)


def _mean_of_both(
    key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> Array:
    """A 1x1 kernel [1, 1, 2 c, c] that gives the mean of two images."""
    del key
    return jnp.concatenate([jnp.eye(shape[-1], dtype=dtype)] * 2)[None, None] / 2


class Fuse(nn.Module):
    """A frame of a painted and a warped one; at first their mean."""

    @nn.compact
    def __call__(self, painted: Frame, warped: Frame, *, train: bool) -> Frame:
        """Frames about [-1, 1], float32."""
        del train
        both = jnp.concatenate([painted, warped], -1)
        mean = Init(_mean_of_both)
        return Conv(painted.shape[-1], kernel_size=1, initializer=mean, name="conv")(both)


@dataclasses.dataclass(frozen=True)
class Ahead:
    """How far a prediction goes."""

    frames: Few = 0
    """Frames ahead; 0: as many as the system's clips have after the observed ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DualMotionGAN(System):
    """Frames and flows predicted by two generators, for frames whose sides halvings divide."""

    shape: Shape = (8, 64, 64, 3)
    """Frames, height, width and channels of a clip that it learns from; those after `observed` are
    what it predicts, each learned from the frames before it."""
    observed: Positive = 4
    """Frames that a prediction is made of."""
    width: Positive = 64
    """Channels of encoder and generators at half of the frames' size; each halving doubles them."""
    halvings: Halvings = 4
    """How often the encoder halves the frames."""
    latent: Positive = 128
    """Channels of a latent."""
    lstm_layers: Positive = 1
    """ConvLSTMs of the encoder, one on top of the other."""
    estimator_width: Positive = 64
    """Channels of the flow estimator's first layer."""
    discriminator_width: Positive = 64
    """Channels of the discriminators' first layers."""
    discriminator_halvings: Halvings = 3
    """Of the discriminators: 3 judge patches of 70 pixels, 2 of 34, 1 of 16."""
    divergence: Weight = 0.01
    """Weight of the latents' divergence from normal ones, in nats by number of a frame."""
    distance: Weight = 100.0
    """Weight of the frames' L1 distances."""
    flow_distance: Weight = 1.0
    """Weight of the flows' L1 distances, in pixels."""
    adversarial: Weight = 1.0
    """Weight of each discriminator's verdict."""
    smoothness: Weight = 0.01
    """Weight of the absolute differences of neighbouring flows in the estimator's loss."""
    learning_rate: Rate = 1e-4
    """Adam's step size, for all."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""

    def __post_init__(self) -> None:
        shown = "x".join(map(str, self.shape))
        if len(self.shape) != 4 or self.shape[0] <= self.observed:
            raise UserError(
                f"clips are {shown}: give frames x height x width x channels, of more frames than "
                f"the {self.observed} that are observed"
            )
        if not self.halvings:
            raise UserError("halvings is 0: the encoder halves frames once at least")
        factor = 1 << max(self.halvings, ESTIMATOR)
        if any(side % factor for side in self.shape[1:3]):
            raise UserError(f"clips are {shown}: height and width must be multiples of {factor}")
        least = smallest_side(self.discriminator_halvings)
        if min(self.shape[1:3]) < least:
            raise UserError(
                f"clips are {shown}: discriminators of {self.discriminator_halvings} halvings "
                f"judge {least} pixels a side and more: set discriminator_halvings lower"
            )

    @property
    def _ahead(self) -> int:
        return self.shape[0] - self.observed

    def data(self) -> tuple[dict[str, Field], ...]:
        """Clips."""
        return ({"clip": Clip(self.shape)},)

    def networks(self) -> dict[str, nn.Module]:
        """The encoder, two generators and what fuses; the estimator; two discriminators."""
        dtype = jnp.dtype(self.dtype)
        generator = partial(Generator, width=self.width, doublings=self.halvings, dtype=dtype)
        patchgan = PatchGAN(self.discriminator_width, self.discriminator_halvings, dtype=dtype)
        return {
            "encoder": Encoder(self.width, self.halvings, self.latent, self.lstm_layers, dtype),
            "frame_generator": generator(channels=self.shape[-1]),
            "flow_generator": generator(channels=2, flow=True),
            "fuse": Fuse(),
            "estimator": Estimator(self.estimator_width, dtype),
            "frame_discriminator": patchgan,
            "flow_discriminator": patchgan,
        }

    def inputs(self) -> dict[str, tuple]:
        """Observed frames; a latent; frames, pairs of them, and a flow."""
        height, width, channels = self.shape[1:]
        frame = jnp.zeros((1, height, width, channels))
        z = jnp.zeros((1, height >> self.halvings, width >> self.halvings, self.latent))
        return {
            "encoder": (jnp.zeros((1, self.observed, height, width, channels)),),
            "frame_generator": (z,),
            "flow_generator": (z,),
            "fuse": (frame, frame),
            "estimator": (frame, frame),
            "frame_discriminator": (jnp.concatenate([frame, frame], -1),),
            "flow_discriminator": (jnp.zeros((1, height, width, 2)),),
        }

    # --- what it can do

    def uses(self) -> dict[str, Use]:
        """Predicts how clips go on; estimates flows."""

        def count(options: Ahead) -> int:
            return options.frames or self._ahead

        def call(
            view: View, taken: dict[str, Array], keys: Key[Array, " b"], options: Ahead
        ) -> dict[str, Array]:
            clip = next(iter(taken.values()))
            made, flows = self.predict(view, clip[:, : self.observed], count(options))
            return {"clip": made, "flow": flows}

        def gives(options: Ahead, resolution: object) -> dict[str, Field]:
            size = (count(options), *self.shape[1:3])
            return {"clip": Clip((*size, self.shape[-1])), "flow": Flow((*size, 2))}

        observed = f"{self.observed} frame{'s' * (self.observed > 1)}"
        predict = partial(Use, call=call, gives=gives, options=Ahead())
        return {
            "predict": predict(
                takes={"clip": FromData(column="clip")},
                summary=f"predicts the frames of a clip after its first {observed}, and flows",
            ),
            "extend": predict(
                takes={"seen": Clip((self.observed, *self.shape[1:]))},
                summary=f"predicts the frames after {observed}, and flows",
            ),
            "estimate": Use(
                call=lambda view, taken, keys, options: {"flow": self.flows(view, taken["clip"])},
                takes={"clip": FromData(column="clip")},
                gives={"flow": Flow((self.shape[0] - 1, *self.shape[1:3], 2))},
                summary="estimates the flow that leads to each frame of a clip but the first",
            ),
        }

    def predict(
        self, view: View, seen: Float[Array, "b t h w c"], count: int
    ) -> tuple[Float[Array, "b n h w c"], Float[Array, "b n h w 2"]]:
        """`count` frames after those seen, and the flows to them, by feeding frames back."""
        frames, flows = [], []
        for _ in range(count):
            z, _ = view("encoder", seen)
            painted, flow = view("frame_generator", z), view("flow_generator", z)
            frame = jnp.clip(view("fuse", painted, warp(seen[:, -1], flow)), -1, 1)
            seen = jnp.concatenate([seen[:, 1:], frame[:, None]], 1)
            frames.append(frame)
            flows.append(flow)
        return jnp.stack(frames, 1), jnp.stack(flows, 1)

    def flows(self, view: View, clip: Float[Array, "b t h w c"]) -> Float[Array, "b s h w 2"]:
        """The estimator's flows from each frame to the one before, s = t - 1."""
        before, after = (x.reshape(-1, *x.shape[2:]) for x in (clip[:, :-1], clip[:, 1:]))
        flow = view("estimator", before, after)
        return flow.reshape(len(clip), -1, *flow.shape[1:])

    # --- how it learns

    def stages(self) -> tuple[Stage, ...]:
        """One stage: encoder and generators, the discriminators, the estimator."""

        def player(name: str, owns: tuple[str, ...], *, reuse: bool = True) -> Player:
            return Player(
                name=name,
                owns=owns,
                loss=getattr(self, f"{name}_loss"),
                optimizer=optax.adam(self.learning_rate, *self.betas),
                reuse=reuse,
            )

        return (
            Stage(
                players=(
                    player("generator", GENERATORS, reuse=False),
                    player("discriminators", DISCRIMINATORS),
                    player("estimator", ("estimator",)),
                )
            ),
        )

    def window(self, view: View, clip: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Observed frames [b, observed, h, w, c], from anywhere in each clip, and the next one."""
        places = Label(classes=self._ahead)
        start = view.draw({"start": places}, key, len(clip))["start"]
        times = start[:, None] + jnp.arange(self.observed + 1)
        frames = clip[jnp.arange(len(clip))[:, None], times]
        return frames[:, :-1], frames[:, -1]

    def verdict(
        self, view: View, last: Frame, frames: Sequence[Frame], flows: Sequence[FlowMap]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Binary cross entropies of both discriminators, with the labels of real ones.

        Args:
            view: of the networks.
            last: frame before the others.
            frames: the painted and the warped one.
            flows: the predicted one, and that between the last and the painted frame.
        """
        pairs = ((view.augment(jnp.concatenate([last, x], -1)),) for x in frames)
        on_frames = view.together("frame_discriminator", *pairs)
        on_flows = view.together("flow_discriminator", *((flow,) for flow in flows))
        of_frames, of_flows = (
            losses.non_saturating.generator(jnp.stack(each)) for each in (on_frames, on_flows)
        )
        return of_frames, of_flows

    def generator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Divergence of latents, L1 distances of frames and flows, both verdicts."""
        where, noise = jax.random.split(key)
        seen, target = self.window(view, batch["clip"], where)
        last = seen[:, -1]
        mean, log_variance = view("encoder", seen)
        drawn = view.draw({"latent": Normal(mean.shape[1:])}, noise, len(mean))["latent"]
        z = mean + jnp.exp(log_variance / 2) * drawn
        painted, flow = view("frame_generator", z), view("flow_generator", z)
        warped = warp(last, flow)
        fused = view("fuse", painted, warped)
        between = view("estimator", last, painted)
        true_flow = jax.lax.stop_gradient(view("estimator", last, target))
        view.out |= {"last": last, "target": target, "painted": painted, "flow": flow}
        view.out |= {"warped": warped, "between": between, "true_flow": true_flow}
        nats = divergence(mean, log_variance).mean() / target[0].size
        apart = {
            name: jnp.abs(x - target).mean()
            for name, x in (("painted", painted), ("warped", warped), ("fused", fused))
        }
        flows = 2 * jnp.abs(jnp.stack([flow, between]) - true_flow).mean()
        of_frames, of_flows = self.verdict(view, last, (painted, warped), (flow, between))
        loss = self.divergence * nats + self.distance * sum(apart.values())
        loss += self.flow_distance * flows + self.adversarial * (of_frames + of_flows)
        metrics = {"divergence": nats, "flows": flows, "of_frames": of_frames, "of_flows": of_flows}
        return loss, {**apart, **metrics}

    def discriminators_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """Binary cross entropies of frames and of flows, each with fakes of both origins."""
        del key
        frames = (batch[name] for name in ("target", "painted", "warped"))
        pairs = ((view.augment(jnp.concatenate([batch["last"], x], -1)),) for x in frames)
        flows = ((batch[name],) for name in ("true_flow", "flow", "between"))
        loss = jnp.zeros(())
        metrics: Metrics = {}
        for name, sides in zip(DISCRIMINATORS, (pairs, flows), strict=True):
            real, *fakes = view.together(name, *jax.lax.stop_gradient(tuple(sides)))
            fake = jnp.stack(fakes)
            loss += losses.non_saturating.discriminator(real, fake)
            kind = name.split("_")[0]
            metrics |= {f"{kind}_{n}": x for n, x in mean_logits(real, fake).items()}
        return loss, metrics

    def estimator_loss(
        self, view: View, batch: Examples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """L1 distance of the next frame to the last one, warped; and how unsmooth the flow is."""
        del key
        flow = view("estimator", batch["last"], batch["target"])
        apart = jnp.abs(warp(batch["last"], flow) - batch["target"]).mean()
        down, across = (jnp.abs(jnp.diff(flow, axis=axis)).mean() for axis in (1, 2))
        rough = down + across
        return apart + self.smoothness * rough, {"warped": apart, "rough": rough}


def divergence(mean: Map, log_variance: Map) -> Float[Array, " b"]:
    """Of normal latents from standard normal ones, nats, by row (Kingma & Welling 2014, app. B)."""
    terms = jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance
    return terms.sum((1, 2, 3)) / 2
