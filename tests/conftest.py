"""Eight virtual devices for the whole suite, set before JAX starts; and what tests share."""

import os
import tempfile

# Tests compile the same small programs again and again: once is enough.
_CACHE = tempfile.TemporaryDirectory(prefix="jaxgan-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ["XDG_CACHE_HOME"] = _CACHE.name  # nothing of the user's is read or written
os.environ["XDG_STATE_HOME"] = _CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jaxtyping
import numpy as np
import pytest

# JAX takes NumPy's arrays and scalars for its own, and so do the checks.
jaxtyping.Array = jax.Array | np.ndarray | np.generic
# Shapes and types in signatures are checked at every call, in all that computes: fields, networks,
# losses, systems, data. It costs 2.6 s of 69.6 s of CPU time: 438 tests of tests/fields, tests/data
# and tests/nn, on two busy cores. Of a container beartype looks at one item, so what an annotation
# says of all may be found wrong by chance.
jaxtyping.install_import_hook(
    [
        "jaxgan.interpolate",
        "jaxgan.pictures",
        "jaxgan.nn",
        "jaxgan.losses",
        "jaxgan.penalties",
        "jaxgan.augment",
        "jaxgan.divergences",
        "jaxgan.fields",
        "jaxgan.view",
        "jaxgan.systems",
        "jaxgan.data",
        "jaxgan.metrics.frechet",
        "jaxgan.metrics.kernel",
        "jaxgan.metrics.manifold",
        "jaxgan.metrics.inception_score",
        "jaxgan.metrics.wasserstein",
        "jaxgan.metrics.lpips",
        "jaxgan.metrics.resize",
        "jaxgan.latent",
        "jaxgan.theory",
    ],
    # A whole number is a float, as in PEP 484.
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

import jaxgan  # noqa: F401 (before the backend starts: it sets XLA flags)


def pytest_configure(config: pytest.Config) -> None:
    """Most of the time is compiling: what LLVM could make faster, small arrays do not need.

    Trainings of minutes do, which are marked slow. XLA reads its flags when the first array is
    made, which is later than this.
    """
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] += (
            " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
            " --xla_cpu_parallel_codegen_split_count=1"
        )
        if jax.__version_info__ < (0, 11):  # 0.12 has the newer emitters alone
            os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def one_device() -> jax.sharding.Mesh:
    from jaxgan.parallel.mesh import make_mesh

    return make_mesh(1, 1)


@pytest.fixture
def all_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays, too, are split over devices and gathered at their use."""
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 0)
