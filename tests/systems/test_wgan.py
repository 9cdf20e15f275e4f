import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.systems.wgan import WGAN
from jaxgan.training.step import init, make_step

TINY = WGAN(shape=(8, 8, 1), latent=3, width=4, discriminator_updates=2)


@pytest.fixture(scope="module")
def trained():
    """Critic and generator after 60 iterations on nearly white images."""
    rng = np.random.default_rng(0)
    step, state = make_step(TINY), init(TINY)
    for _ in range(60):
        images = 1 - rng.uniform(0, 0.1, (2, 8, 8, 8, 1)).astype(np.float32)
        state, metrics = step(state, {"image": images})
    return state, metrics


def test_every_parameter_of_the_critic_is_clipped(trained):
    state, _ = trained
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params["discriminator"]):
        assert abs(leaf).max() <= TINY.clip, path
    gains = state.params["generator"]["norm1"]["scale"]
    assert abs(gains).max() > TINY.clip  # the generator is not


def test_real_images_score_higher(trained):
    """The paper's sign."""
    _, metrics = trained
    scores = metrics["discriminator"]
    assert scores["real_logits"] > scores["fake_logits"]
    np.testing.assert_allclose(scores["loss"], scores["fake_logits"] - scores["real_logits"])


def test_optimizer_is_rmsprop_of_torch(rng):
    optimizer = TINY.stages()[0].players[0].optimizer
    params = {"w": jnp.zeros(3)}
    theirs = torch.zeros(3, requires_grad=True)
    torch_optimizer = torch.optim.RMSprop([theirs], lr=TINY.learning_rate)
    state = optimizer.init(params)
    for _ in range(5):
        gradient = rng.normal(size=3).astype(np.float32)
        updates, state = optimizer.update({"w": jnp.asarray(gradient)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        theirs.grad = torch.from_numpy(gradient)
        torch_optimizer.step()
    np.testing.assert_allclose(params["w"], theirs.detach(), rtol=1e-5)


def test_other_shapes_are_refused():
    with pytest.raises(UserError, match="side 8, 16, 32"):
        WGAN(shape=(28, 28, 1))
