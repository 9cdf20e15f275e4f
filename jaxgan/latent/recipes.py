"""How codes are sought for photographs: published recipes, and the losses of Image2StyleGAN."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxgan.latent.perceptual import Perceptual
from jaxgan.ranges import DecayRate, Positive, Ranged, Rate, Share, Weight

Losses = dict[str, Float[Array, " b"]]
"""The terms of each image, and "loss", their sum."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Ranged):
    """Adam on codes, then on maps of noise."""

    steps: Positive = 5000
    """Of codes."""
    rate: Rate = 0.01
    """Adam's step size for codes."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """Adam's decay rates."""
    pixels: Weight = 1.0
    """Weight of mean squared differences of pixels in [-1, 1]."""
    perceptual: Weight = 1.0
    """Weight of the perceptual distance."""
    style: Weight = 0.01
    """Weight of the distance of styles, where a style is given; this library's."""
    distance: str = "vgg"
    """Which one: vgg, lpips or none."""
    prior: Weight = 1e-3
    """Weight of the mean square of latents, in the space z alone: they are Gaussian."""
    rising: Share = 0.0
    """Share of the steps in which the step size rises from 0."""
    falling: Share = 0.0
    """Share of the steps in which it falls to 0, as a cosine."""
    wobble: Weight = 0.0
    """Noise on codes, in standard deviations of styles, that fades within the first 3/4."""
    noise_rate: Rate = 5.0
    """Adam's step size for maps of noise."""
    whiteness: Weight = 0.0
    """Weight of the maps' autocorrelation; where it is not 0, they are kept at mean 0, variance
    1."""


RECIPES = {
    "image2stylegan": Recipe(),
    "projector": Recipe(
        steps=1000,
        rate=0.1,
        pixels=0.0,
        distance="lpips",
        rising=0.05,
        falling=0.25,
        wobble=0.05,
        noise_rate=0.1,
        whiteness=1e5,
    ),
}
"""image2stylegan: Abdal, Qin, Wonka, ICCV 2019, section 5, and "Image2StyleGAN++", CVPR 2020, for
noise. projector: Karras et al. 2020 (StyleGAN2), appendix D, which moves noise along with codes;
here it moves afterwards."""


def pace(recipe: Recipe, rate: float, step: Array, steps: int) -> Float[Array, ""]:
    """The step size: it may rise linearly, and fall as a cosine (StyleGAN2, appendix D)."""
    share = step / steps
    falls = jnp.minimum(1.0, (1 - share) / recipe.falling) if recipe.falling else 1.0
    rises = jnp.minimum(1.0, share / recipe.rising) if recipe.rising else 1.0
    return jnp.asarray(rate * (0.5 - 0.5 * jnp.cos(falls * jnp.pi)) * rises, jnp.float32)


def adam(recipe: Recipe, rate: float, steps: int) -> optax.GradientTransformation:
    """Adam at that pace."""
    return optax.adam(lambda step: pace(recipe, rate, step, steps), *recipe.betas, eps=1e-8)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Photographs that images are compared with; all arrays [b, ...].

    Attributes:
        images: in [-1, 1].
        mask: where pixels count, in [0, 1].
        seen: where the perceptual distance looks, in [0, 1].
        maps: what it sees of the photographs there.
        styled: where style is compared, in [0, 1]; None: it is not.
        gram: of the style there.
    """

    images: Float[Array, "b h w c"]
    mask: Float[Array, "b h w 1"]
    seen: Float[Array, "b h w 1"]
    maps: list[Array]
    styled: Float[Array, "b h w 1"] | None = None
    gram: Float[Array, "b u u"] | None = None


jax.tree_util.register_dataclass(Target, ["images", "mask", "seen", "maps", "styled", "gram"], [])


def gram(maps: Float[Array, "b y x u"]) -> Float[Array, "b u u"]:
    """Mean products of channels over places: an image's style."""
    places = maps.shape[1] * maps.shape[2]
    return jnp.einsum("byxu,byxv->buv", maps, maps) / places


def compared(
    recipe: Recipe,
    perceptual: Perceptual | None,
    params: PyTree,
    images: Float[Array, "b h w c"],
    target: Target,
) -> Losses:
    """How far images are from photographs (Image2StyleGAN++, section 3.1).

    Each term is averaged over all places, whatever the masks hide; and what they hide is grey to
    the perceptual distance on both sides, so its gradient is exactly 0.
    """
    axes = (1, 2, 3)
    pixels = jnp.mean(jnp.square(target.mask * (images - target.images)), axes)
    found = {"loss": recipe.pixels * pixels, "pixels": pixels}
    if perceptual is not None and recipe.perceptual:
        ours = perceptual.maps(params, target.seen * images)
        each = [
            jnp.square(x - y).reshape(len(x), -1).mean(1)
            for x, y in zip(ours, target.maps, strict=True)
        ]
        found["perceptual"] = sum(each, jnp.zeros(len(images)))
        found["loss"] += recipe.perceptual * found["perceptual"]
    if perceptual is not None and target.styled is not None:
        assert perceptual.style is not None
        assert target.gram is not None
        own = gram(perceptual.style(params, target.styled * images))
        found["style"] = jnp.square(own - target.gram).mean((1, 2))
        found["loss"] += recipe.style * found["style"]
    return found


def autocorrelation(noise: dict[str, Float[Array, "b _ _ 1"]]) -> Float[Array, " b"]:
    """How much maps of noise say of their neighbours, at all sizes from 8 pixels on.

    The sum of squared means of products with the neighbour (StyleGAN2, appendix D).
    """
    total: Float[Array, " b"] = jnp.zeros(len(next(iter(noise.values()))))
    for maps in noise.values():
        x = maps
        while True:
            for axis in (1, 2):
                total += jnp.square((x * jnp.roll(x, 1, axis)).mean((1, 2, 3)))
            if x.shape[1] <= 8:
                break
            b, n = x.shape[:2]
            # Of variance 1 again: means of four have a quarter.
            x = x.reshape(b, n // 2, 2, n // 2, 2, 1).mean((2, 4)) * 2
    return total


def whitened(noise: dict[str, Float[Array, "b _ _ 1"]]) -> dict[str, Float[Array, "b _ _ 1"]]:
    """Maps of mean 0 and variance 1, each by itself."""
    axes = (1, 2, 3)

    def of(x: Array) -> Array:
        x = x - x.mean(axes, keepdims=True)
        return x * jax.lax.rsqrt(jnp.square(x).mean(axes, keepdims=True))

    return {name: of(x) for name, x in noise.items()}
