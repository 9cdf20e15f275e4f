"""What other packages compute, recorded, so that no test needs them.

Inputs are made here from seeds; results lie in recorded.npz. To record them anew:

    pip install --no-deps prdc==0.2 pytorch-fid==0.3.0 torch-fidelity==0.4.0
    python -m tests.reference.recorded
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

FILE = Path(__file__).with_suffix(".npz")

RESIZED = [(1, 1), (5, 7), (28, 28), (299, 299), (310, 480)]
SCORED = [(32, 32, 3), (28, 41, 1), (299, 299, 3), (380, 512, 3)]
"""Shapes of images that are resized to 299 pixels, and of those that Inception sees."""


@functools.cache
def recorded() -> dict[str, np.ndarray]:
    """Everything, by name."""
    with np.load(FILE) as file:
        return dict(file)


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Two images, one of them dark: uint8 [2, h, w, c]."""
    made = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    made[0] //= 4
    return made


def correlated(rng: np.random.Generator, samples: int, size: int) -> np.ndarray:
    """Features as networks give them: of one sign, correlated, of a spectrum over four decades."""
    mixing = stats.ortho_group.rvs(size, random_state=rng) * np.logspace(0, -2, size)[:, None]
    return (rng.normal(size=(samples, size)) @ mixing + rng.uniform(size=size)).astype(np.float32)


def frechet_sets(samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = correlated(rng, samples, 32)
    return a, 1.2 * correlated(rng, samples, 32) + np.float32(0.1)


def kernel_sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return np.abs(rng.normal(size=(300, 64))), np.abs(1.2 * rng.normal(size=(300, 64)))


def manifold_sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(150, 12)).astype(np.float32)
    return real, (0.8 * rng.normal(size=(110, 12)) + 0.4).astype(np.float32)


def logits() -> np.ndarray:
    return (3 * np.random.default_rng(0).normal(size=(503, 20))).astype(np.float32)


def latents() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs [20, 8] and places [20] between them; two pairs lie on one line through the origin."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 8)).astype(np.float32)
    b[3], b[4] = 2 * a[3], -a[4]
    return a, b, rng.uniform(size=20).astype(np.float32)


def inception_state(arrays: list[str]) -> dict[str, np.ndarray]:
    """A random state_dict of Inception, from lines NAME SIZE SIZE....

    Convolutions keep what images differ by through 48 layers; norms are far from the identity.
    """
    rng = np.random.default_rng(0)
    state = {}
    for line in arrays:
        name, *sizes = line.split()
        shape = tuple(map(int, sizes))
        if len(shape) > 1:
            scale = np.float32(np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[1:])))
            state[name] = scale * rng.standard_normal(shape, np.float32)
        else:
            low = 0.5 if name.endswith(("bn.weight", "running_var")) else -0.5
            state[name] = low + rng.random(shape, np.float32)
    return state


def thin(made: np.ndarray) -> np.ndarray:
    """As much of features or resized images as the file holds."""
    return made[:, ::4] if made.ndim == 2 else made[:, ::23, ::23]


def _record() -> Iterator[tuple[str, np.ndarray]]:
    """Names and results, by the packages themselves."""
    import prdc
    import torch

    from tests.reference import packages
    from tests.reference.port import images_from_torch, images_to_torch

    tf1 = packages.module("torch_fidelity.interpolate_compat_tensorflow")
    for size in RESIZED:
        made = tf1.interpolate_bilinear_2d_like_tensorflow1x(
            images_to_torch(images((*size, 3)).astype(np.float32)), (299, 299), align_corners=False
        )
        yield f"bilinear_tf1 {size}", thin(images_from_torch(made))

    distance = packages.module("pytorch_fid.fid_score").calculate_frechet_distance
    for samples in (600, 20):
        moments = [m for x in frechet_sets(samples) for m in (x.mean(0), np.cov(x, rowvar=False))]
        yield f"fid {samples}", np.array(distance(*moments))

    kid = packages.module("torch_fidelity.metric_kid")
    x, y = map(torch.from_numpy, kernel_sets())
    for subsets, size in ((1, 300), (30, 60)):
        made = kid.kid_features_to_metric(
            x, y, kid_subsets=subsets, kid_subset_size=size, verbose=False
        )
        values = made[kid.KEY_METRIC_KID_MEAN], made[kid.KEY_METRIC_KID_STD]
        yield f"kid {subsets} {size}", np.array(values)

    prc = packages.module("torch_fidelity.metric_prc")
    real, fake = map(torch.from_numpy, manifold_sets())
    for k in (3, 5):
        made = prdc.compute_prdc(*manifold_sets(), nearest_k=k)
        names = ("precision", "recall", "density", "coverage")
        yield f"prdc {k}", np.array([made[name] for name in names])
        made = prc.prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
        values = made[prc.KEY_METRIC_PRECISION], made[prc.KEY_METRIC_RECALL]
        yield f"precision_recall {k}", np.array(values)

    isc = packages.module("torch_fidelity.metric_isc")
    shuffled = torch.from_numpy(np.random.default_rng(5).permutation(logits()))
    for splits in (10, 7, 1):
        made = isc.isc_features_to_metric(shuffled, splits, shuffle=False)
        values = made[isc.KEY_METRIC_ISC_MEAN], made[isc.KEY_METRIC_ISC_STD]
        yield f"inception_score {splits}", np.array(values)

    a, b, t = map(torch.from_numpy, latents())
    yield "slerp", packages.module("torch_fidelity.noise").batch_slerp_any(a, b, t[:, None]).numpy()

    network = packages.inception()
    arrays = [
        " ".join([name, *map(str, tensor.shape)])
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]
    yield "inception", np.array(arrays)
    state = {name: torch.from_numpy(value) for name, value in inception_state(arrays).items()}
    network.load_state_dict(state, strict=False)
    for shape in SCORED:
        rgb = np.broadcast_to(images(shape), (2, *shape[:2], 3))
        with torch.no_grad():
            features, scores = network(images_to_torch(rgb))
        yield f"inception_features {shape}", thin(features.numpy())
        yield f"inception_logits {shape}", thin(scores.numpy())


if __name__ == "__main__":
    np.savez_compressed(FILE, **dict(_record()))
