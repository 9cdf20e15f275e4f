"""`jaxgan export --format pytorch`: PyTorch's networks load the files and draw the same images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from flax.traverse_util import flatten_dict

from jaxgan import Data, Experiment, Run, convert
from jaxgan.cli import main
from jaxgan.config import to_json
from jaxgan.convert import FORMATS, module_of, peers, table
from jaxgan.convert.tensors import iterate
from jaxgan.errors import UserError
from jaxgan.pth import writer
from jaxgan.systems.biggan import BigGAN
from jaxgan.systems.biggan_deep import BigGANDeep
from jaxgan.systems.cyclegan import CycleGAN
from jaxgan.systems.dcgan import DCGAN
from jaxgan.systems.mimicry import MimicrySNGAN
from jaxgan.systems.pix2pix import Pix2Pix
from jaxgan.systems.sagan import SAGAN
from jaxgan.systems.sngan import SNGAN
from jaxgan.systems.stylegan2 import StyleGAN2
from jaxgan.training.apply import evaluated
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.step import state_shapes
from tests.reference import (
    biggan_pytorch,
    cyclegan_pytorch,
    dcgan_pytorch,
    originals,
    sagan_heykeetae,
    sngan_mimicry,
    stylegan2_ada,
)
from tests.reference.port import images_from_torch, images_to_torch


def axis_of(system, network, path):
    """The axis of a kernel's rows, by which its spectral norm is taken."""
    if path.startswith("embed"):
        return 0
    return -2 if (type(system), network) == (SAGAN, "generator") else -1


def saved(system, folder, seed=1):
    """A run of random networks; kernels have moved by a step of Adam since their last iteration."""
    state = state_shapes(system)
    random = np.random.default_rng(seed)

    def filled(path, like):
        name = path[-1].key if hasattr(path[-1], "key") else ""
        if name in ("var", "scale"):
            return random.uniform(0.5, 1.5, like.shape).astype(np.float32)
        if name in ("kernel", "bias", "gamma", "mean"):
            return (0.2 * random.normal(size=like.shape)).astype(np.float32)
        return np.zeros(like.shape, like.dtype)

    state = jax.tree_util.tree_map_with_path(filled, state)
    for network, stats in state.stats.items():
        kernels = flatten_dict(state.params[network], sep="/")
        for path, norm in flatten_dict(stats.get("spectral", {}), sep="/", is_leaf=lifted).items():
            path = path.removesuffix("/SpectralNorm_0")
            kernel = kernels[f"{path}/kernel"]
            matrix = table.as_matrix(kernel, axis_of(system, network, path))
            u, v = iterate(matrix, random.normal(size=(1, len(matrix))))
            for _ in range(3):
                u, v = iterate(matrix, u)
            norm |= {"u": u[0].astype(np.float32), "v": v[0].astype(np.float32)}
            kernel += 2e-4 * random.choice([-1, 1], kernel.shape).astype(np.float32)
    with Checkpoints(folder / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(jax.tree.map(jnp.asarray, state))
    (folder / "config.json").write_text(
        to_json(Experiment(system=system, data=Data(source="digits")))
    )
    return Run(folder)


def lifted(path, tree):
    return path[-1:] == ("SpectralNorm_0",)


def exported(run, folder):
    assert main(["export", str(run.folder), "--format", "pytorch", "--out", str(folder)]) == 0
    return {path.name: torch.load(path, weights_only=True) for path in sorted(folder.iterdir())}


def loaded(network, state):
    """In evaluation mode; every tensor must be there, and no other."""
    network.load_state_dict(state)
    return network.eval()


BIGGAN = {"shape": (32, 32, 3), "channels": 8, "classes": 5}
FAMILIES = {
    "dcgan": (
        DCGAN(shape=(32, 32, 3), width=4, discriminator_width=6, latent=10, ema_decay=0.9),
        lambda: dcgan_pytorch.Generator(),
        lambda: dcgan_pytorch.Discriminator(width=6),
    ),
    "sagan": (
        SAGAN(shape=(64, 64, 3), width=8, latent=12),
        sagan_heykeetae.Generator,
        sagan_heykeetae.Discriminator,
    ),
    "sngan": (
        MimicrySNGAN(
            generator_channels=(8,) * 4, discriminator_channels=(8,) * 4, latent=9, ema_decay=0.9
        ),
        sngan_mimicry.Generator,
        sngan_mimicry.Discriminator,
    ),
    "cgan-pd": (
        MimicrySNGAN(
            generator_channels=(8,) * 4, discriminator_channels=(8,) * 4, latent=9, classes=4
        ),
        lambda: sngan_mimicry.Generator(classes=4),
        lambda: sngan_mimicry.Discriminator(classes=4),
    ),
    "biggan": (
        BigGAN(
            **BIGGAN,
            ema_decay=0,
            latent=20,
            shared=6,
            generator_attention=(16,),
            discriminator_attention=(16,),
        ),
        lambda: biggan_pytorch.Generator(attention=(16,)),
        lambda: biggan_pytorch.Discriminator(attended=(0, 1, 2, 3)),
    ),
    "biggan, tables": (
        BigGAN(
            **BIGGAN,
            latent=7,
            shared=0,
            hierarchical=False,
            generator_attention=(),
            discriminator_attention=(),
        ),
        lambda: biggan_pytorch.Generator(latent=7, shared=0, hier=False),
        lambda: biggan_pytorch.Discriminator(),
    ),
    "biggan-deep": (
        BigGANDeep(
            **BIGGAN,
            ema_decay=0,
            latent=7,
            shared=6,
            generator_attention=(16,),
            discriminator_attention=(),
        ),
        lambda: biggan_pytorch.Generator(latent=7, attention=(16,), deep=True),
        lambda: biggan_pytorch.Discriminator(deep=True),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_files_load_there_and_come_back_the_same(tmp_path, family):
    """PyTorch's images of a file are those of what is imported of it (tests of each format)."""
    system, make, judge = FAMILIES[family]
    run = saved(system, tmp_path)
    files = exported(run, tmp_path / "out")
    drawn = next(name for name in ("G_ema.pth", "netG.pth", "G.pth") if name in files)
    judged = next(name for name in ("D.pth", "netD.pth") if name in files)
    assert drawn != "G_ema.pth" or ("G.pth" in files) == ("generator" in run.state.ema)
    loaded(make(), files[drawn])
    loaded(judge(), files[judged])
    back = convert.load(
        peers.format_of(system), tmp_path / "out" / drawn, tmp_path / "out" / judged
    )
    params, stats = jax.device_get(evaluated(system, run.state))
    for network in ("generator", "discriminator"):
        ours = flatten_dict({"params": params[network], **stats[network]}, sep="/")
        theirs = {"params": back.params[network], **back.stats[network]}
        for path, value in flatten_dict(theirs, sep="/").items():
            if path.endswith("SpectralNorm_0/sigma"):
                stem = path.removesuffix("/SpectralNorm_0/sigma").removeprefix("spectral/")
                kernel = ours[f"params/{stem}/kernel"]
                matrix = table.as_matrix(kernel, axis_of(system, network, stem))
                u, v = (ours[path[:-5] + name].astype(float) for name in "uv")
                # Of a single row or column it can be no other than the true one.
                near = 1e-3 if 1 in matrix.shape else 2e-6
                np.testing.assert_allclose(value, u @ matrix @ v, rtol=near, err_msg=path)
            elif not path.endswith(("/u", "/v")):  # which their iteration goes on from
                np.testing.assert_allclose(value, ours[path], rtol=0, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("family", ["dcgan", "cgan-pd", "biggan, tables"])
def test_images_are_the_same(tmp_path, rng, family):
    system, make, _ = FAMILIES[family]
    run = saved(system, tmp_path)
    files = exported(run, tmp_path / "out")
    generator = loaded(make(), files["netG.pth" if "netG.pth" in files else "G_ema.pth"])
    z, _, y = originals.inputs(rng, system)
    labels = (y,) if getattr(system, "classes", 0) else ()
    given = {"z": z} | ({"label": y} if labels else {})
    images = originals.torch_draw(generator, z, *labels)
    assert images.std() > 0.01
    np.testing.assert_allclose(run.apply("generate", given).made["image"], images, atol=1e-5)


@torch.no_grad()
def test_cyclegan_and_pix2pix_both_ways(tmp_path, rng):
    system = CycleGAN(shape=(32, 48, 3), width=4, blocks=1, patch_halvings=2, input_channels=0)
    (tmp_path / "cycle").mkdir()
    run = saved(system, tmp_path / "cycle")
    files = exported(run, tmp_path / "AB")
    assert sorted(files) == [f"latest_net_{name}.pth" for name in ("D_A", "D_B", "G_A", "G_B")]
    x = rng.uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)
    for use, take, name in (("AtoB", "input", "G_A"), ("BtoA", "image", "G_B")):
        network = cyclegan_pytorch.ResNet(blocks=1)
        network = loaded(network, files[f"latest_net_{name}.pth"])
        (made,) = run.apply(use, {take: x}).made.values()
        np.testing.assert_allclose(made, images_from_torch(network(images_to_torch(x))), atol=1e-5)
    back = convert.load("cyclegan_pytorch", tmp_path / "AB" / "latest_net_G_A.pth")
    for network, tree in back.params.items():
        jax.tree.map(np.testing.assert_array_equal, tree, run.state.params[network])

    system = Pix2Pix(shape=(32, 32, 3), width=4, patch_halvings=2, statistics="running")
    (tmp_path / "pix").mkdir()
    run = saved(system, tmp_path / "pix")
    files = exported(run, tmp_path / "pairs")
    network = loaded(cyclegan_pytorch.UNet(halvings=5), files["latest_net_G.pth"])
    x = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    made = run.apply("AtoB", {"input": x}).made["image"]
    np.testing.assert_allclose(made, images_from_torch(network(images_to_torch(x))), atol=1e-5)
    patches = cyclegan_pytorch.PatchGAN(channels=6, halvings=2, norm=cyclegan_pytorch.batch_norm)
    loaded(patches, files["latest_net_D.pth"])


def test_stylegan2_in_one_file(tmp_path):
    system = StyleGAN2(
        shape=(8, 8, 3), latent=10, width=48, max_channels=8, mapping_layers=2, group=2
    )
    run = saved(system, tmp_path)
    (file,) = exported(run, tmp_path / "out").values()
    for name, network in (
        ("G", stylegan2_ada.Generator(widths=(8, 6))),
        ("G_ema", stylegan2_ada.Generator(widths=(8, 6))),
        ("D", stylegan2_ada.Discriminator(widths=(8, 6))),
    ):
        filters = {k: v for k, v in network.state_dict().items() if k.endswith("resample_filter")}
        loaded(network, file[name])
        for key, value in filters.items():
            torch.testing.assert_close(file[name][key], value)
    back = convert.load("stylegan2_ada", tmp_path / "out" / "network.pth")
    state, average = jax.device_get((run.state, run.state.ema["generator"]))
    assert np.abs(average["params"]["mapping"]["dense0"]["kernel"]).max() > 0.1
    for ours, theirs in (
        (state.params["generator"], back.params["generator"]),
        (state.params["discriminator"], back.params["discriminator"]),
        (average["params"], back.averages["generator"]),
        (state.stats["generator"], back.stats["generator"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, theirs, ours)


def test_one_file_and_safetensors(tmp_path, capsys):
    run = saved(FAMILIES["dcgan"][0], tmp_path)
    command = ["export", str(run.folder), "--format", "pytorch", "--out"]
    for name, read in (("G.pth", torch.load), ("G.safetensors", safetensors.torch.load_file)):
        assert main([*command, str(tmp_path / name)]) == 0
        assert "without netD.pth: a folder as --out holds them, too" in capsys.readouterr().out
        loaded(dcgan_pytorch.Generator(), read(tmp_path / name))
    one, other = (
        convert.load("dcgan_pytorch", tmp_path / name) for name in ("G.pth", "G.safetensors")
    )
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def test_the_writer_writes_what_torch_reads(tmp_path):
    tree = {
        "a": {"w": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "n": np.array(7)},
        "été": np.zeros((0, 3), np.float32),
        "long": np.arange(300, dtype=np.float32),
    }
    (tmp_path / "a.pth").write_bytes(writer.dumps(tree))
    for mapped in (False, True):
        read = torch.load(tmp_path / "a.pth", weights_only=True, mmap=mapped)
        assert torch.equal(read["a"]["w"], torch.arange(24.0).reshape(2, 3, 4))
        assert (read["a"]["n"].dtype, int(read["a"]["n"])) == (torch.int64, 7)
        assert read["été"].shape == (0, 3)
        assert float(read["long"].sum()) == 299 * 150


def test_mistakes_are_told_in_one_line(tmp_path, capsys):
    networks = {
        "sngan": SNGAN(shape=(8, 8, 3), generator_channels=(4, 4), discriminator_channels=(4, 4)),
        "cycle": CycleGAN(shape=(32, 32, 3), width=2, blocks=1, patch_halvings=1),
    }
    for name, system in networks.items():
        (tmp_path / name).mkdir()
        saved(system, tmp_path / name)
    (tmp_path / "file").write_text("")
    for run, options, expected in [
        ("sngan", [str(tmp_path / "x")], "SNGAN has no code in PyTorch"),
        ("cycle", [str(tmp_path / "x.pth"), "--use", "cycle"], "are in files of their own"),
        ("cycle", [str(tmp_path / "x"), "--use", "AtoB"], "a folder holds all networks"),
        ("cycle", [str(tmp_path / "x.pth")], "CycleGAN cannot 'generate'"),
        ("cycle", [str(tmp_path / "file")], "give a folder"),
        ("cycle", [str(tmp_path / "no" / "x")], "a folder that exists"),
    ]:
        command = ["export", str(tmp_path / run), "--format", "pytorch", "--out", *options]
        assert main(command) == 2, options
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert expected in err, err
    with pytest.raises(UserError, match="without classes"):
        module_of("biggan_pytorch").table(BigGAN(classes=0), "generator")


UNATTENDED = {
    "latent": 20,
    "shared": 6,
    "generator_attention": (),
    "discriminator_attention": (),
}
SMALL = {"generator_channels": (8,) * 4, "discriminator_channels": (8,) * 4, "classes": 4}
JUDGED = {"class_weights": (1.0, 0.1)}


@pytest.mark.parametrize(
    ("format", "system", "setting"),
    [
        ("biggan_pytorch", BigGAN(**BIGGAN, **UNATTENDED, **JUDGED), "class_weights"),
        ("biggan_pytorch", BigGANDeep(**BIGGAN, **UNATTENDED, **JUDGED), "class_weights"),
        ("biggan_studiogan", BigGAN(**BIGGAN, **UNATTENDED, **JUDGED), "class_weights"),
        ("sngan_mimicry", MimicrySNGAN(**SMALL, **JUDGED), "class_weights"),
        ("sagan_heykeetae", SAGAN(shape=(16, 16, 3), width=2, spectral=False), "spectral false"),
        (
            "cyclegan_pytorch",
            CycleGAN(shape=(32, 32, 3), blocks=1, patch_halvings=2, patch_kernel=3),
            "patch_kernel 3",
        ),
        (
            "pix2pix_pytorch",
            Pix2Pix(shape=(32, 32, 3), patch_halvings=2, patch_kernel=3),
            "patch_kernel 3",
        ),
    ],
)
def test_networks_that_the_code_has_not_are_refused(format, system, setting):
    for network in system.networks():
        with pytest.raises(UserError, match=f"this run has {setting}") as error:
            module_of(format).table(system, network)
        assert "\n" not in str(error.value)


def test_every_format_is_written_as_it_is_read():
    for name in FORMATS:
        module = module_of(name)
        parts = [part for file in module.FILES.values() for part in file.values()]
        assert {part.network for part in parts} >= set(module.KNOWN), name
