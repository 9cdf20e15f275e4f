"""Every config loads, keeps the contract and has as many parameters as its sources say."""

import dataclasses
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxgan.config import from_json, to_json
from jaxgan.system import given_by, stages_of, taken_by
from jaxgan.training.step import make_step, state_shapes

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py"))

# Trainable parameters: counted in the PyTorch code that a system follows, or by hand from its table
# of layers where that code is in another framework.
COUNTS = {
    "gan_mnist": {"generator": 1_510_032, "discriminator": 533_505},
    # No one has counted the toys: 2-128-128-2 and 2-128-128-1, then with a layer of 128 more.
    "gan_ring": {"generator": 17_154, "discriminator": 17_025},
    "dcgan_celeba64": {"generator": 3_576_704, "discriminator": 2_765_568},
    "wgan_lsun64": {"generator": 3_576_704, "discriminator": 2_765_568},
    "wgangp_cifar10": {"generator": 1_204_483, "discriminator": 1_053_825},
    "wgangp_acgan_cifar10": {"generator": 1_218_307, "discriminator": 1_055_115},
    "wgangp_lsun64": {"generator": 8_540_483, "discriminator": 7_491_841},
    "wgangp_ring": {"generator": 33_666, "discriminator": 33_537},
    "cgan_mnist": {"generator": 3_656_576, "discriminator": 2_773_760},
    "sngan_cifar10": {"generator": 4_276_739, "discriminator": 1_053_824},
    "sngan_projection_cifar10": {"generator": 4_304_387, "discriminator": 1_055_104},
    "sngan_projection_imagenet128": {"generator": 41_996_931, "discriminator": 30_041_857},
    "sagan_celeba64": {"generator": 3_832_885, "discriminator": 3_175_299},
    "sagan_wgangp_celeba64": {"generator": 3_832_885, "discriminator": 3_175_299},
    "sagan_imagenet128": {"generator": 42_017_412, "discriminator": 39_463_618},
    "pix2pix_facades256": {"generator": 54_413_955, "discriminator": 2_768_705},
    "cyclegan_horse2zebra256": {
        "generator_ab": 11_378_179,
        "generator_ba": 11_378_179,
        "discriminator_a": 2_764_737,
        "discriminator_b": 2_764_737,
    },
    "cogan_digits": {"generator": 799_462, "discriminator": 427_593},  # a quarter wide, by hand
    "infogan_mnist5k": {  # half as wide, by hand
        "generator": 865_313,
        "discriminator": 837_345,
        "recogniser": 34_958,
    },
    "mocogan_actions": {  # of six categories in the published code, by hand
        "generator": 3_298_836 - 2 * 8192,
        "frame_discriminator": 663_296,
        "clip_discriminator": 11_253_504 - 2 * 32_768,
    },
    "mocogan_ucf101": {
        "generator": 3_298_836 + 95 * 8192,
        "frame_discriminator": 663_296,
        "clip_discriminator": 11_253_504 + 95 * 32_768,
    },
    "dualmotion_kitti": {
        "encoder": 21_764_288,
        "frame_generator": 3_346_371,
        "flow_generator": 3_345_346,
        "fuse": 21,
        "estimator": 1_319_554,
        "frame_discriminator": 2_767_809,
        "flow_discriminator": 2_763_713,
    },
    "singan": {  # of four scales, all 32 channels wide
        name: count
        for scale in range(4)
        for name, count in ((f"generator_{scale}", 29_763), (f"discriminator_{scale}", 29_185))
    },
    # Live ones: the code declares 30,080 more, and 50,789,632, which no forward pass uses.
    "segan_isic128": {"segmentor": 156_235_264, "critic": 9_393_088},
    "redo_lfw128": {
        "masks": 274_966,
        "generator": 61_867_582,
        "discriminator": 38_424_258,
        "recogniser": 38_483_712,
    },
    "hific_openimages": {  # without the discriminator 181,475,343
        "encoder": 7_423_420,
        "generator": 156_774_683,
        "analysis": 5_754_560,
        "scale": 5_754_460,
        "mean": 5_754_460,
        "density": 13_760,
        "discriminator": 2_793_117,
    },
    "agustsson_cityscapes": {  # by hand
        "encoder": 5_553_244,
        "generator": 154_869_723,
        "discriminator": 3 * 2_764_737,
    },
    "adain_coco_wikiart512": {"decoder": 3_505_219},
    "adain_photos": {"decoder": 3_505_219},
    "biggan_cifar10": {"generator": 4_304_387, "discriminator": 4_207_361},
    "biggan_cifar10_paper": {"generator": 9_416_196, "discriminator": 10_194_053},
    "biggan_imagenet128": {"generator": 70_433_988, "discriminator": 87_982_370},
    "biggan_imagenet128_gpu": {"generator": 70_433_988, "discriminator": 87_982_370},
    "biggan_imagenet256": {"generator": 82_097_604, "discriminator": 98_635_298},
    "biggan_imagenet512": {"generator": 82_468_068, "discriminator": 98_801_378},
    "biggan_deep_imagenet128": {"generator": 50_244_484, "discriminator": 34_590_210},
    "biggan_deep_imagenet256": {"generator": 55_736_708, "discriminator": 38_247_426},
    "progan_cifar10": {"generator": 1_296_908, "discriminator": 1_298_689},  # by hand
    "progan_celebahq1024": {"generator": 23_079_115, "discriminator": 23_087_249},
    "stylegan_ffhq1024": {"generator": 26_219_627, "discriminator": 23_087_249},
    "sgan_cifar10": {
        "encoder": 1_031_818,
        "generator_1": 808_192,
        "generator_0": 5_367_171,
        "discriminator_1": 425_532,
        "discriminator_0": 1_066_010,
    },
    "stackgan_coco256": {  # stage I's generator 20,020,832 in all, stage II's 37,130,480
        "augmentation1": 262_400,
        "generator1": 19_758_432,
        "discriminator1": 12_407_425,
        "augmentation2": 262_400,
        "generator2": 36_868_080,
        "discriminator2": 159_889_538,
    },
    "stylegan2_ffhq1024": {"generator": 30_370_060, "discriminator": 29_012_513},
    "stylegan2_cifar10": {"generator": 19_947_539, "discriminator": 20_720_641},
}


def load(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_config_keeps_the_contract_and_tells_its_command(name):
    module = load(name)
    config = module["config"]
    assert stages_of(config.system)
    for use in config.system.uses().values():
        assert taken_by(config.system, use) or use.call
        assert given_by(use)
    assert f"jaxgan train configs/{name}.py" in module["__doc__"]
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    params, _ = jax.eval_shape(load(name)["config"].system.init, jax.random.key(0))
    counts = {
        network: sum(leaf.size for leaf in jax.tree.leaves(tree))
        for network, tree in params.items()
    }
    assert counts == COUNTS[name]


# Tracing a step of the deepest networks takes seconds: not again for another size of the same.
ALIKE = {
    "biggan_imagenet128",
    "biggan_imagenet256",
    "biggan_imagenet512",
    "biggan_deep_imagenet256",
    "progan_celebahq1024",
    "stylegan2_ffhq1024",
}


@pytest.mark.parametrize("name", [name for name in COUNTS if name not in ALIKE])
def test_step_in_bfloat16_keeps_its_state_and_metrics_in_float32(name):
    """At full size: shapes alone, nothing is computed."""
    config = load(name)["config"]
    system = dataclasses.replace(config.system, dtype="bfloat16")
    state = state_shapes(system)
    stage = stages_of(system)[-1]
    lead = (stage.draws, config.batch) if stage.draws > 1 else (config.batch,)
    batch = {
        name: jax.ShapeDtypeStruct((*lead, *field.at(stage.resolution).shape), field.dtype)
        for group in system.data()
        for name, field in group.items()
    }
    after, metrics = jax.eval_shape(make_step(system, stage), state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype("float32")}
    if "discriminator" in metrics:
        assert {"real_logits", "fake_logits"} <= set(metrics["discriminator"])
