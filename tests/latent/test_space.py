import numpy as np
import pytest

from jaxgan import UserError
from jaxgan.latent.needs import having
from jaxgan.latent.space import NAMES, Space, read_codes, write_codes
from jaxgan.training.apply import call_keys, evaluation_view
from tests.latent.runs import LABELLED, MLP, STYLED, untrained
from tests.toys import TinyGAN


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained(STYLED, tmp_path_factory.mktemp("runs") / "styled")


@pytest.mark.parametrize("name", NAMES)
def test_images_of_drawn_codes_are_samples(run, name):
    space = Space.of(run, name)
    codes = space.draw(3, seed=5)
    assert codes.shape == (3, *space.shape)
    images = space.image.from_network(space.images(codes))
    np.testing.assert_array_equal(images, run.sample(3, seed=5))
    taken, options = space.others(3, seed=5)
    view = evaluation_view(run.system, run.stored)
    rendered = space.render(view, codes, taken, call_keys(5, np.arange(3)), options)
    np.testing.assert_allclose(rendered, space.images(codes), atol=1e-5)


def test_labels_go_with_latents(tmp_path):
    run = untrained(LABELLED, tmp_path / "run")
    for name in NAMES:
        space = Space.of(run, name)
        given = {"label": [1, 2]} if name == "z" else {}
        images = space.images(space.draw(2, seed=3, label=[1, 2]), **given)
        np.testing.assert_array_equal(
            space.image.from_network(images), run.sample(2, seed=3, labels=[1, 2])
        )
    w = Space.of(run, "w")
    assert (w.mean(100, label=1) != w.mean(100, label=2)).any()


def test_means(run):
    w, plus = Space.of(run, "w"), Space.of(run, "w+")
    mean = w.mean(500, seed=2)
    np.testing.assert_allclose(mean, w.draw(500, seed=2).mean(0), atol=1e-6)
    np.testing.assert_array_equal(plus.mean(500, seed=2), np.stack([mean] * plus.layers))
    assert not Space.of(run, "z").mean().any()


def test_noise_is_taken_where_it_is_asked_for(run):
    assert list(run.takes("synthesize")) == ["style"]
    codes = Space.of(run, "w+").draw(2)
    fixed = Space.of(run, "w+").images(codes)
    maps = {
        f"noise{n}": np.asarray(
            run.stored.stats["generator"]["noise"]["synthesis"][f"noise{n}"]["map"]
        )
        for n in range(5)
    }
    assert [x.shape[1] for x in maps.values()] == [4, 8, 8, 16, 16]
    given = Space.of(run, "w+").images(codes, noise=True, **maps)
    np.testing.assert_allclose(given, fixed, atol=1e-6)
    drawn = Space.of(run, "w+").images(codes, noise=True)
    assert np.abs(drawn - fixed).max() > 1e-3


def test_codes_on_disk(run, tmp_path, caplog):
    for name in NAMES:
        space = Space.of(run, name)
        codes = space.draw(2)
        write_codes(tmp_path / "codes.npz", space, codes, label=np.array([0, 1]))
        _, back = read_codes(run, tmp_path / "codes.npz", name)
        np.testing.assert_array_equal([each.code for each in back], codes)
    # This run has no classes; each line is said once.
    assert "codes.npz: label left out, which generate does not take" in caplog.text
    np.savez(tmp_path / "bad.npz", style=np.zeros((1, 3, 8), np.float32))
    with pytest.raises(UserError, match=r"codes of 1x3x8: w\+ of .* has nx6x8"):
        read_codes(run, tmp_path / "bad.npz")
    style = np.zeros((2, 6, 8), np.float32)
    maps = {f"noise{n}": x for n, x in enumerate(np.zeros((5, 1, 4, 4, 1), np.float32))}
    np.savez(tmp_path / "codes.npz", style=style, **maps)
    _, rows = read_codes(run, tmp_path / "codes.npz")
    assert rows[1].given["noise"] is True
    assert rows[1].given["noise0"].shape == (1, 4, 4, 1)
    for bad, said in ((np.zeros((3, 4, 4, 1)), "of 3x4x4x1 for 2 codes"), (0.0, "of one number")):
        np.savez(tmp_path / "bad.npz", style=style, noise0=bad)
        with pytest.raises(UserError, match=said):
            read_codes(run, tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", style=style.astype(str))
    with pytest.raises(UserError, match="style holds <U32: give real numbers"):
        read_codes(run, tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", style=style * np.nan)
    with pytest.raises(UserError, match="not finite"):
        read_codes(run, tmp_path / "bad.npz")


def test_what_is_missing_is_said(tmp_path):
    run = untrained(MLP, tmp_path / "run")
    with pytest.raises(UserError, match=r"style and synthesize missing.*that can: StyleGAN, "):
        Space.of(run, "w")
    assert Space.finest(run).name == "z"
    with pytest.raises(UserError, match="no space 'v'"):
        Space.of(run, "v")
    with pytest.raises(UserError, match="give a run that draws images"):
        _ = Space.of(untrained(TinyGAN(), tmp_path / "toy", source="moons"), "z").image
    assert "StyleGAN2" in having("style", "synthesize")
