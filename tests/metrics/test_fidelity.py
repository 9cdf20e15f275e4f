import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jaxgan.errors import UserError
from jaxgan.metrics.fidelity import BPP, PSNR, ms_ssim, psnr, ssim


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, 40, 31, 3), np.uint8)
    b = np.clip(a + rng.normal(0, 30, a.shape), 0, 255).astype(np.uint8)
    return a, b


def test_psnr_and_ssim_equal_skimages(pairs):
    for row, (a, b) in enumerate(zip(*pairs, strict=True)):
        want = peak_signal_noise_ratio(a, b, data_range=255)
        np.testing.assert_allclose(psnr(*pairs)[row], want)
        want = structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
        )
        np.testing.assert_allclose(ssim(*pairs)[row], want, rtol=1e-9)


def test_equal_images_are_as_near_as_can_be(pairs):
    a = np.resize(pairs[0], (1, 180, 177, 3))
    assert psnr(a, a) == 100
    np.testing.assert_allclose((ssim(a, a), ms_ssim(a, a)), 1)


def test_ms_ssim_equals_pytorchs_operations(rng):
    a = rng.integers(0, 256, (1, 176, 192, 2), np.uint8)
    b = np.clip(a + rng.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    x, y = (torch.tensor(np.moveaxis(v, -1, 1).astype(np.float64)) for v in (a, b))
    places = torch.arange(11.0, dtype=torch.float64) - 5
    window = torch.exp(-(places**2) / 4.5)
    window = (window / window.sum())[None, None]
    kernel = (window[..., None, :] * window[..., None]).expand(2, 1, 11, 11)

    def blur(v):
        return torch.nn.functional.conv2d(v, kernel, groups=2)

    parts = []
    for index in range(5):
        mx, my = blur(x), blur(y)
        cov, var = blur(x * y) - mx * my, blur(x * x) - mx**2 + blur(y * y) - my**2
        contrast = (2 * cov + 58.5225) / (var + 58.5225)
        light = (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
        parts.append((light * contrast if index == 4 else contrast).mean((2, 3)).relu())
        x, y = (torch.nn.functional.avg_pool2d(v, 2) for v in (x, y))
    weights = torch.tensor([0.0448, 0.2856, 0.3001, 0.2363, 0.1333], dtype=torch.float64)
    want = (torch.stack(parts, -1) ** weights).prod(-1).mean(1)
    np.testing.assert_allclose(ms_ssim(a, b), want.numpy(), rtol=1e-9)


def test_images_that_are_too_small_are_refused(pairs):
    with pytest.raises(UserError, match="msssim compares images of at least 176"):
        ms_ssim(*pairs)
    with pytest.raises(UserError, match="ssim compares images of at least 11"):
        ssim(pairs[0][:, :10], pairs[1][:, :10])


def test_scores_are_means_over_pairs_and_over_files(pairs):
    a, b = pairs
    score = PSNR()
    for row in range(2):
        score.add({"image": a[row : row + 1]}, {"image": b[row : row + 1]})
    found = psnr(a, b)
    np.testing.assert_allclose(score.result()["psnr"], (found.mean(), found.std()))
    score = BPP()
    for bits in ([0.5, 1.5], [4.0]):
        score.add({"bpp": np.array(bits)})
    assert score.result()["bpp"][0] == 2
