"""What StyleGAN and StyleGAN2 share: styles of each layer, truncated, mixed, and painted in."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan.fields import Field, Normal, Number, Points, Resolution
from jaxgan.nn.style import Noise, draw_noise, mix, random_cutoff, truncate
from jaxgan.ranges import Positive, Share
from jaxgan.system import Use
from jaxgan.systems.common.generative import Generative, label_of
from jaxgan.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthesis:
    """Options of the use "synthesize"."""

    noise: bool = False
    """Whether it takes maps of noise, noise0, noise1, ..., which are drawn where they are not
    given; otherwise they are those that were fixed at the start."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Styled(Generative):
    """A generator that makes styles of latents, one for each layer, and images of styles.

    Subclasses add networks and losses. Their generator has the methods `styles` and `synthesize`,
    and a `jaxgan.nn.style.Mapping` called "mapping".
    """

    latent: Positive = 512
    """Size of latents and styles."""
    mixing: Share = 0.9
    """Share of training batches whose images have the styles of two latents."""

    @abstractmethod
    def layers(self, resolution: Resolution | None) -> int:
        """Layers that take a style, at a stage's resolution."""

    @abstractmethod
    def sides(self, resolution: Resolution | None) -> tuple[int, ...]:
        """Sides of the maps of noise, one for each layer that takes noise."""

    def truncated(self, resolution: Resolution | None) -> int:
        """Layers, from the first, that truncation acts on."""
        return self.layers(resolution)

    def latents(self) -> dict[str, Field]:
        """The latent vector, and psi, by which styles are truncated when it is sampled."""
        return {**super().latents(), "psi": Number(default=1.0, low=0.0, high=2.0)}

    def inputs(self) -> dict[str, tuple]:
        """Latent vectors and images, with labels where there are classes."""
        label = [field.zeros() for field in self.labels().values()]
        return {
            "generator": (self.latents()["z"].zeros(), *label),
            "discriminator": (self.sample().zeros(), *label),
        }

    def uses(self) -> dict[str, Use]:
        """Draws samples, also in two parts, by way of styles."""

        def style(options: Any, resolution: Resolution | None) -> dict[str, Field]:
            del options
            return {"style": Points((self.layers(resolution), self.latent))}

        def taken(options: Any, resolution: Resolution | None) -> dict[str, Field]:
            sides = enumerate(self.sides(resolution)) if options.noise else ()
            maps: dict[str, Field] = {f"noise{layer}": Normal((n, n, 1)) for layer, n in sides}
            return {**style(options, resolution), **maps}

        def synthesize(
            view: View, taken: Mapping[str, Array], keys: Any, options: Any
        ) -> dict[str, Array]:
            del keys
            count = len(self.sides(view.resolution))
            noise = tuple(taken[f"noise{n}"] for n in range(count)) if options.noise else None
            return {"image": self.synthesize(view, taken["style"], noise)}

        return {
            **super().uses(),
            "style": Use(
                call=lambda view, taken, keys, options: {"style": self.styles(view, taken)},
                takes=self.latents(),
                gives=style,
                summary="makes styles of latents, one for each layer",
            ),
            "synthesize": Use(
                call=synthesize,
                takes=taken,
                gives={"image": self.sample()},
                options=Synthesis(),
                summary="makes images of styles",
            ),
        }

    def styles(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b l d"]:
        """Styles of every layer, at psi times their distance from the average in the first ones."""
        w = view("generator", taken["z"], *label_of(taken), method="styles")
        styles = mix(w, w, 0, self.layers(view.resolution))
        average = view.stats["generator"]["average"]["mapping"]["style"]
        return truncate(styles, average, taken["psi"], self.truncated(view.resolution))

    def synthesize(
        self, view: View, styles: Float[Array, "b l d"], noise: Noise = None
    ) -> Float[Array, "b h w c"]:
        """Images of styles; with the fixed noise if none is given."""
        return view.frozen("generator", styles, noise, method="synthesize")

    def make(self, view: View, taken: Mapping[str, Array]) -> Float[Array, "b h w c"]:
        """Samples, nominally in [-1, 1]."""
        return self.synthesize(view, self.styles(view, taken))

    def draw_mixed(
        self,
        view: View,
        key: PRNGKeyArray,
        count: int,
        *label: Int[Array, " b"],
    ) -> tuple[Float[Array, "b l d"], Noise]:
        """Styles as they are drawn in training, mixed in a share `mixing` of batches, and noise.

        The running mean of styles sees the first latents alone. Labels are given, where there are
        classes, for both latents.
        """
        one, two, cut, noise_key = jax.random.split(key, 4)
        first, second = (
            apply("generator", view.draw(self.latents(), k, count)["z"], *label, method="styles")
            for apply, k in ((view, one), (view.frozen, two))
        )
        layers = self.layers(view.resolution)
        styles = mix(first, second, random_cutoff(cut, self.mixing, layers), layers)
        return styles, draw_noise(view.keys(noise_key, count), self.sides(view.resolution))
