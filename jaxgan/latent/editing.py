"""Editing images by their codes: morphs, transfers of style and expression, and what masks mark.

Abdal, Qin, Wonka, "Image2StyleGAN", ICCV 2019, section 4 (`morph`, `transfer`, `express`), and
"Image2StyleGAN++", CVPR 2020, section 4 (`inpaint`, `scribble`, and `blend`: activation tensor
manipulation). Codes come from `Space.draw` or from `invert`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgan.errors import UserError
from jaxgan.latent.inversion import Inverted, Photo, fitted_mask, invert
from jaxgan.latent.layers import Layer, maps_of, pooled
from jaxgan.latent.space import Space
from jaxgan.ranges import Count, Number, Positive, checked
from jaxgan.run.open import Run

Code = Float[np.ndarray, "..."]
"""One code, of the space's shape."""


@checked
def morph(
    space: Space, first: Code, second: Code, frames: Positive = 30
) -> Float[np.ndarray, "f ..."]:
    """Codes from one to the other: `frames` of them, the ends exactly what is given.

    Styles go on straight lines, l w1 + (1 - l) w2, latents as their field does (on arcs).

    Raises:
        UserError: fewer than two frames; codes that are not of the space.
    """
    _check(space, first, second)
    if frames < 2:
        raise UserError(f"frames is {frames}: a morph has at least 2, which are its ends")
    share = np.linspace(0, 1, frames, dtype=np.float32)
    ends = [np.repeat(np.asarray(code, np.float32)[None], frames, 0) for code in (first, second)]
    if space.layers:
        at = share.reshape(-1, *[1] * len(space.shape))
        codes = (1 - at) * ends[0] + at * ends[1]
    else:
        field = space.run.takes(space.use)[space.take]
        a, b = map(jnp.asarray, ends)
        codes = np.array(field.between(a, b, jnp.asarray(share)))
    codes[0], codes[-1] = first, second
    return np.asarray(codes)


@checked
def transfer(
    space: Space, content: Code, style: Code, layers: Count | None = None
) -> Float[np.ndarray, "l d"]:
    """A w+ code: the first `layers` of one, the rest of the other.

    Args:
        space: w+.
        content: whose coarse layers are kept.
        style: whose fine layers are taken.
        layers: how many are kept; None: one half, as in the paper. 0 gives `style`, all `content`.

    Raises:
        UserError: another space; more layers than there are.
    """
    _check(space, content, style)
    if space.name != "w+":
        raise UserError(f"styles are transferred in w+, where layers differ, not in {space.name}")
    cut = space.layers // 2 if layers is None else layers
    if cut > space.layers:
        raise UserError(f"layers is {cut}: the generator has {space.layers}")
    return np.concatenate([content[:cut], style[cut:]]).astype(np.float32)


@checked
def express(
    space: Space, base: Code, neutral: Code, expressive: Code, strength: Number = 1.0
) -> Float[np.ndarray, "..."]:
    """base + strength (expressive - neutral): what tells two images apart, moved to a third.

    Raises:
        UserError: codes that are not of the space.
    """
    _check(space, base, neutral, expressive)
    moved = np.asarray(base) + np.float32(strength) * (expressive - neutral)
    return moved.astype(np.float32)


def _check(space: Space, *codes: Code) -> None:
    for code in codes:
        if np.shape(code) != space.shape:
            want, found = ("x".join(map(str, shape)) for shape in (space.shape, np.shape(code)))
            raise UserError(f"a code is of {found}: one of {space.name} is of {want}")


def pasted(output: Any, given: tuple[Array, Array]) -> Any:
    """An edit of a module's maps: others where the mask is 1, its own where it is 0."""
    if isinstance(output, tuple):
        return (pasted(output[0], given), *output[1:])
    other, mask = given
    mask = mask.astype(output.dtype)
    return mask * other.astype(output.dtype) + (1 - mask) * output


@checked
def blend(
    space: Space,
    first: Code,
    second: Code,
    mask: Photo,
    layer: str,
    **given: Any,
) -> Float[np.ndarray, "h w c"]:
    """The first image, with the second one's activations at a layer where a mask marks them.

    Layers after it see both, and so blend them; activations outside the mask stay to the bit, the
    image's pixels near it need not. The mask is brought to the layer's cells by means.

    Args:
        space: of the codes.
        first: code of the image that is edited.
        second: code of the image that activations are copied from.
        mask: white where they are.
        layer: path of a module of the generator that gives maps.
        given: what else the use takes, such as a label; one for both images.

    Returns the image as networks see it.

    Raises:
        UserError: no such layer that gives maps; a mask that marks nothing.
    """
    _check(space, first, second)
    at = Layer.of(space.run, layer, space.use, **given)
    place, number = at.place, np.zeros(1, int)
    source = space.apply(second[None], numbers=number, captures=[place], **given).captured[place]
    maps = np.asarray(maps_of(source))
    cells = np.clip(pooled(jnp.asarray(fitted_mask(space.image, mask, 1)), at.shape[:2]), 0, 1)
    edits = {(place, pasted): (maps, cells)}
    return space.images(first[None], numbers=number, edits=edits, **given)[0]


@checked
def inpaint(
    run: Run, photo: Photo, mask: Photo, space: str = "w+", **how: Any
) -> tuple[UInt8[np.ndarray, "h w c"], Inverted]:
    """Fills what a mask marks: the rest is inverted, and stays as it is, to the bit.

    Args:
        run: of a generator.
        photo: brought to the run's size.
        mask: white where the photo is to be filled.
        space: in which a code is sought.
        how: as of `invert`.

    Returns the image, and the inversion.

    Raises:
        UserError: as `invert`; a mask that marks nothing, or everything.
    """
    where = Space.of(run, space)
    hole = fitted_mask(where.image, mask, 1)
    known = np.where(hole > 0, np.uint8(0), np.uint8(255))[0]
    if not known.any():
        raise UserError("the mask marks everything: leave some of the photo black")
    found = invert(run, [photo], space, mask=known, **how)
    made = np.clip(found.images, -1, 1)
    # Where nothing is marked, the weight is 0 and the photo's own bytes stand.
    image = where.image.from_network(hole * made + (1 - hole) * found.photos)
    return np.where(hole > 0, image, where.image.from_network(found.photos))[0], found


@checked
def scribble(
    run: Run, original: Code, drawn: Photo, space: str = "w+", **how: Any
) -> tuple[UInt8[np.ndarray, "h w c"], Inverted]:
    """Turns scribbles on an image into what the generator would draw there.

    A code is sought for the image with its scribbles, from the code of the original on; few steps
    (100, say) keep it among the images that the generator draws.

    Args:
        run: of a generator.
        original: code of the image before it was drawn on.
        drawn: the image with scribbles.
        space: of the code.
        how: as of `invert`.

    Returns the image, and the inversion.
    """
    where = Space.of(run, space)
    _check(where, original)
    found = invert(run, [drawn], space, start=np.asarray(original, np.float32)[None], **how)
    return where.image.from_network(found.images)[0], found
