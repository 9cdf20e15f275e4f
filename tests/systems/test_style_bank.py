import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.source import open_source
from jaxgan.systems.style_bank import StyleBank, StyleNetwork


def test_styles_differ_in_their_rows_of_the_tables_alone(rng):
    network = StyleNetwork(classes=3, width=2, blocks=1)
    images = rng.uniform(-1, 1, (2, 18, 21, 3)).astype(np.float32)
    labels = jnp.array([0, 2])
    params = network.init(jax.random.key(0), images, labels, train=True)["params"]
    tables = {name: each for name, each in params.items() if name.endswith("_norm")}
    assert len(tables) == 1 + 2 + 2 + 2 + 1
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(tables))

    def made(params, style):
        return network.apply({"params": params}, images, style, train=False)

    before = made(params, labels)
    assert before.shape == images.shape
    other = {name: jax.tree.map(lambda x: x.at[2].add(0.5), each) for name, each in tables.items()}
    after = made({**params, **other}, labels)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3
    weights = jax.nn.one_hot(labels, 3)
    np.testing.assert_allclose(made(params, weights), before, atol=1e-5)


def test_labels_of_the_styles_come_along():
    source = open_source("unpaired:photos:content,photos:style")
    styles, contents = source.sets
    assert styles[3]["label"] == 3
    assert "label" not in contents.columns
    shapes = jax.eval_shape(StyleBank(classes=10).init, jax.random.key(0))[0]
    assert shapes["network"]["last_norm"]["scale"].shape == (10, 3)
