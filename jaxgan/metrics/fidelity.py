"""How near images are to those that they should be, by pixels: PSNR, SSIM, MS-SSIM; of pairs.

Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural
similarity"; Wang, Simoncelli, Bovik 2003, "Multi-scale structural similarity". All are of bytes,
computed in float64, a value for each image; colours are channels like others.
"""

import numpy as np
from jaxtyping import Float, Num, UInt8

from jaxgan import colour
from jaxgan.errors import UserError
from jaxgan.metrics.base import PairScore, Score

HIGHEST = 100.0
"""PSNR of equal images, dB, which would be infinite."""

_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

Bytes = UInt8[np.ndarray, "n h w c"]


def psnr(
    a: Num[np.ndarray, "n h w c"],
    b: Num[np.ndarray, "n h w c"],
    mask: Float[np.ndarray, "n h w 1"] | None = None,
) -> Float[np.ndarray, " n"]:
    """10 log10(255^2 / mean squared difference) of each pair, dB; 100 where they are equal.

    Of bytes, or of numbers in their range. A mask weighs places; without one all count alike.
    """
    squared = ((a.astype(np.float64) - b) ** 2).mean(-1, keepdims=True)
    weights = np.ones_like(squared) if mask is None else mask.astype(np.float64)
    mean = (weights * squared).sum((1, 2, 3)) / np.maximum(weights.sum((1, 2, 3)), 1e-12)
    return 10 * np.log10(255**2 / np.maximum(mean, 255**2 / 10 ** (HIGHEST / 10)))


def ssim(a: Bytes, b: Bytes) -> Float[np.ndarray, " n"]:
    """Structural similarity of each pair; images have 11 pixels a side or more."""
    _check(a, _TAPS, "ssim")
    luminance, contrast = _parts(a.astype(np.float64), b.astype(np.float64))
    return (luminance * contrast).mean((1, 2, 3))


def ms_ssim(a: Bytes, b: Bytes) -> Float[np.ndarray, " n"]:
    """Structural similarity at five scales of each pair; images have 176 pixels a side or more.

    Each scale halves the image by means of 2x2 pixels; of odd sides the last is left out. Negative
    means count as 0.
    """
    _check(a, _TAPS << (len(_WEIGHTS) - 1), "msssim")
    x, y = a.astype(np.float64), b.astype(np.float64)
    product = np.ones((len(a), a.shape[-1]))
    for index, weight in enumerate(_WEIGHTS):
        luminance, contrast = _parts(x, y)
        last = index == len(_WEIGHTS) - 1
        mean = (luminance * contrast if last else contrast).mean((1, 2))
        product *= np.maximum(mean, 0) ** weight
        x, y = _halved(x), _halved(y)
    return product.mean(1)


def _check(images: Bytes, least: int, score: str) -> None:
    if min(images.shape[1:3]) < least:
        height, width = images.shape[1:3]
        raise UserError(
            f"{score} compares images of at least {least} pixels a side, and these are "
            f"{height}x{width}: leave it out, or give larger ones"
        )


def _parts(
    x: Float[np.ndarray, "n h w c"], y: Float[np.ndarray, "n h w c"]
) -> tuple[Float[np.ndarray, "n v u c"], Float[np.ndarray, "n v u c"]]:
    """Luminance, and contrast times structure, where the window lies within the image."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = _blurred(x * y) - product
    variances = _blurred(x**2 + y**2) - squares
    luminance = (2 * product + _C1) / (squares + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blurred(x: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n v u c"]:
    """Gaussian means over 11x11 pixels, of deviation 1.5."""
    places = np.arange(_TAPS) - _TAPS // 2
    taps = np.exp(-(places**2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    for axis in (1, 2):
        size = x.shape[axis] - _TAPS + 1
        parts = (x.take(range(at, at + size), axis) * tap for at, tap in enumerate(taps))
        x = np.sum(list(parts), axis=0)
    return x


def _halved(x: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n v u c"]:
    count, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))


class _OfPixels(PairScore):
    """A mean over pairs of images, compared by their pixels."""

    better = "higher"
    of = "pixels"
    published_with = "pixels"


class PSNR(_OfPixels):
    """Peak signal-to-noise ratio."""

    name = "psnr"
    summary = "peak signal-to-noise ratio of pairs, dB"
    published_as = "mean over images of the PSNR of each, of bytes in RGB (Mentzer et al. 2020)"

    def each(self, a: Bytes, b: Bytes) -> Float[np.ndarray, " n"]:
        """`psnr`."""
        return psnr(a, b)


class SSIM(_OfPixels):
    """Structural similarity."""

    name = "ssim"
    summary = "structural similarity of pairs"
    published_as = "11x11 Gaussian window of deviation 1.5, mean over channels (Wang et al. 2004)"

    def each(self, a: Bytes, b: Bytes) -> Float[np.ndarray, " n"]:
        """`ssim`."""
        return ssim(a, b)


class MSSSIM(_OfPixels):
    """Structural similarity at several scales."""

    name = "msssim"
    summary = "structural similarity of pairs at five scales"
    published_as = "five scales, mean over channels (Wang et al. 2003)"

    def each(self, a: Bytes, b: Bytes) -> Float[np.ndarray, " n"]:
        """`ms_ssim`."""
        return ms_ssim(a, b)


class Chroma(_OfPixels):
    """PSNR of Cb and Cr, and what two ways without a network have of the same images.

    They are chroma of 128, grey, and that of 4:2:0, a mean for each four pixels.
    """

    name = "chroma"
    gives = ("chroma", "chroma_grey", "chroma_420")
    summary = "PSNR of Cb and Cr of pairs, dB; of no colour; of 4:2:0"
    published_as = "mean over images of the PSNR of Cb and Cr together, of full range (ITU-T 2011)"

    def each(self, a: Bytes, b: Bytes) -> Float[np.ndarray, "3 n"]:
        """`psnr`, three for each pair."""
        if a.shape[-1] != 3:
            raise UserError("chroma compares images in colour, and these are grey: leave it out")
        made, found = colour.chroma(a), colour.chroma(b)
        others = made, np.full_like(found, 128), colour.subsampled(found)
        return np.stack([psnr(other, found) for other in others])

    def result(self) -> dict[str, tuple[float, float]]:
        """{name: (mean, deviation over images)}, of the three."""
        rows = zip(self.gives, np.concatenate(self.generated, 1), strict=True)
        return {name: (float(row.mean()), float(row.std())) for name, row in rows}


class BPP(Score):
    """Bits per pixel of files."""

    name = "bpp"
    kinds = ("image", "clip")
    needs = frozenset({"bpp"})
    better = "lower"
    of = "pixels"
    summary = "bits per pixel of the files that a run writes, all bytes counted"
    published_as = "mean of the bits of each file by its pixels (Mentzer et al. 2020)"
    published_with = "pixels"

    def result(self) -> dict[str, tuple[float, float]]:
        """{"bpp": (mean, deviation over images)}."""
        found = np.concatenate([batch["bpp"] for batch in self.generated]).astype(np.float64)
        return {self.name: (float(found.mean()), float(found.std()))}
