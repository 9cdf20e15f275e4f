"""What StyleGAN and StyleGAN2 share: styles of each layer, truncated, mixed, and painted in."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan.fields import Field, Number, Points, Resolution
from jaxgan.nn.style import Noise, draw_noise, mix, random_cutoff, truncate
from jaxgan.ranges import Positive, Share
from jaxgan.system import Use
from jaxgan.systems.common.generative import Generative, label_of
from jaxgan.view import View


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

        return {
            **super().uses(),
            "style": Use(
                call=lambda view, taken, keys, options: {"style": self.styles(view, taken)},
                takes=self.latents(),
                gives=style,
                summary="makes styles of latents, one for each layer",
            ),
            "synthesize": Use(
                call=lambda view, taken, keys, options: {
                    "image": self.synthesize(view, taken["style"])
                },
                takes=style,
                gives={"image": self.sample()},
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
        sides: Sequence[int],
        *label: Int[Array, " b"],
    ) -> tuple[Float[Array, "b l d"], Noise]:
        """Styles as they are drawn in training, mixed in a share `mixing` of batches, and noise.

        The running mean of styles sees the first latents alone. `sides` are those of the noise's
        maps; labels are given, where there are classes, for both latents.
        """
        one, two, cut, noise_key = jax.random.split(key, 4)
        first, second = (
            apply("generator", view.draw(self.latents(), k, count)["z"], *label, method="styles")
            for apply, k in ((view, one), (view.frozen, two))
        )
        layers = self.layers(view.resolution)
        styles = mix(first, second, random_cutoff(cut, self.mixing, layers), layers)
        return styles, draw_noise(view.keys(noise_key, count), sides)
