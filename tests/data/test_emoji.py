import json
import os

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import fingerprint, open_source
from jaxgan.data.textures import ground
from jaxgan.errors import UserError
from jaxgan.fields import Image as ImageField
from jaxgan.fields import Mask
from jaxgan.fields.base import Framing

NAMES = ("WAVING HAND", "RED APPLE", *(f"SIGN {number}" for number in range(20)))


def package(folder, vendor, rng, *, without=()):
    """An npm package of the layout of emoji-datasource-*, of which the first name has two tones."""
    pictures = folder / "img" / vendor / "64"
    pictures.mkdir(parents=True)
    entries = []

    def picture(code):
        made = {f"has_img_{v}": (v, code) not in without for v in ("google", "twitter")}
        if made[f"has_img_{vendor}"]:
            rgba = rng.integers(0, 256, (64, 64, 4), np.uint8)
            Image.fromarray(rgba).save(pictures / f"{code}.png")
        return {"unified": code.upper(), "image": f"{code}.png", **made}

    for number, name in enumerate(NAMES):
        code = f"1f{number:02x}"
        entries.append(
            {
                **picture(code),
                "name": name,
                "short_names": [name.lower().replace(" ", "_"), f"short_{number}"],
                "category": "People & Body" if number == 0 else "Symbols",
                "subcategory": "hand" if number == 0 else "other",
            }
        )
        if number == 0:
            tones = ("1F3FB", "1F3FF-1F3FB")
            entries[0]["skin_variations"] = {t: picture(f"{code}-{t.lower()}") for t in tones}
    (folder / "emoji.json").write_text(json.dumps(entries))
    return folder


def test_a_package_has_images_captions_classes_and_masks(tmp_path, rng):
    source = open_source(f"emoji:{package(tmp_path, 'google', rng)}")
    assert len(source) == len(NAMES) + 2
    assert set(source.columns) == {"image", "mask", "label", "text"}
    assert source.classes == ("People & Body", "Symbols")
    assert [source[i]["label"] for i in (0, 2, 3)] == [0, 0, 1]
    assert source[0]["text"] == ("waving hand", "short 0", "people & body hand waving hand")
    assert source[1]["text"][0] == "waving hand, light skin tone"
    assert source[2]["text"][1] == "short 0, dark and light skin tone"
    rgba = np.asarray(Image.open(tmp_path / "img/google/64/1f01.png"))
    np.testing.assert_array_equal(source[3]["image"], rgba)
    np.testing.assert_array_equal(Mask((64, 64, 1)).fit(source[3]["mask"]), rgba[:, :, 3:])


def test_systems_that_draw_rgb_see_emoji_on_white_and_others_their_alpha(tmp_path, rng):
    source = open_source(f"emoji:{package(tmp_path, 'google', rng)}")
    rgba = source[0]["image"].astype(float)
    alpha = rgba[:, :, 3:] / 255
    white = ImageField((64, 64, 3))
    assert white.refusal(source.columns["image"]) is None
    on_white = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(white.fit(source[0]["image"]), on_white, atol=0.51)
    assert ImageField((64, 64, 4)).fit(source[0]["image"]).shape == (64, 64, 4)
    small = ImageField((32, 32, 3)).fit(source[0]["image"], Framing(resize=True))
    assert small.shape == (32, 32, 3)


def test_two_packages_are_pairs_of_the_emoji_that_both_have(tmp_path, rng):
    lacks = {("google", "1f03")}
    package(tmp_path / "google" / "package", "google", rng, without=lacks)
    package(tmp_path / "node_modules/emoji-datasource-twitter", "twitter", rng, without=lacks)
    source = open_source(f"emoji:{tmp_path}")
    assert len(source) == len(NAMES) + 1
    assert "short 3" not in {word for item in source.items["text"] for word in item}
    twitter = open_source(f"emoji:{tmp_path}:twitter")
    np.testing.assert_array_equal(twitter[0]["image"], source[0]["input"])
    np.testing.assert_array_equal(twitter[0]["input"], source[0]["image"])


def test_parts_share_no_name_and_hold_all(tmp_path, rng):
    folder = package(tmp_path, "google", rng)
    whole, train, test = (open_source(f"emoji:{folder}{p}") for p in ("", ":google:train", ":test"))
    assert len(train) + len(test) == len(whole)
    texts = [{s[i]["text"][0].split(",")[0] for i in range(len(s))} for s in (train, test)]
    assert len(test)
    assert not texts[0] & texts[1]
    assert train.classes == test.classes == whole.classes
    assert len(open_source(f"part:1/3:emoji:{folder}")) == len(whole) // 3


def test_on_textures_images_are_rgb_and_masks_exact(tmp_path, rng):
    folder = package(tmp_path, "google", rng)
    package(tmp_path / "twitter", "twitter", rng)
    plain = open_source(f"emoji:{folder}:google")
    source = open_source(f"emoji:{folder}:textures:google")
    assert set(source.columns) == {"image", "mask", "label", "text"}
    assert source.columns["image"].shape == (64, 64, 3)
    for index in range(len(source)):
        rgba, item = plain[index]["image"], source[index]
        np.testing.assert_array_equal(item["mask"], np.where(rgba[:, :, 3:] > 127, 255, 0))
        opaque = rgba[:, :, 3] == 255
        np.testing.assert_array_equal(item["image"][opaque], rgba[opaque][:, :3])
    again = open_source(f"emoji:{folder}:google:textures")
    assert fingerprint(again) == fingerprint(source) != fingerprint(plain)
    by_name = {source[i]["text"]: source[i]["image"] for i in range(len(source))}
    parts = [open_source(f"emoji:{folder}:google:textures:{part}") for part in ("train", "test")]
    assert sum(map(len, parts)) == len(source)
    for part in parts:
        for index in range(len(part)):
            item = part[index]
            np.testing.assert_array_equal(item["image"], by_name[item["text"]])


def test_grounds_are_many_and_depend_on_their_number_alone():
    first = ground(7, 64, 64)
    np.testing.assert_array_equal(ground(7, 64, 64), first)
    assert first.std() > 5
    assert len({ground(number, 64, 64).tobytes() for number in range(50)}) == 50
    means = np.stack([ground(number, 64, 64).mean((0, 1)) for number in range(200)])
    assert (means.std(0) > 20).all()  # of any colour


def test_identity_is_that_of_pictures_and_captions(tmp_path, rng):
    folder = package(tmp_path / "a", "google", rng)
    first = fingerprint(open_source(f"emoji:{folder}"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(open_source(f"emoji:{tmp_path / 'b'}")) == first
    path = tmp_path / "b" / "emoji.json"
    path.write_text(path.read_text().replace("RED APPLE", "GREEN APPLE"))
    assert fingerprint(open_source(f"emoji:{tmp_path / 'b'}")) != first


def test_what_cannot_be_read_is_told_in_a_line(tmp_path, rng):
    def refused(spec, match):
        with pytest.raises(UserError, match=match):
            open_source(spec)

    refused("emoji:", "no such package.*npm pack emoji-datasource-google")
    refused("emoji:nowhere:twitter", "no folder 'nowhere' here.*npm pack emoji-datasource-twitter")
    refused("emoji:x:google:twitter", "one vendor and one part")
    refused("emoji:x:textures:test:textures", "one vendor and one part")
    folder = package(tmp_path / "p", "google", rng)
    refused(f"emoji:{folder}:twitter", "holds google, expected the npm package.*-twitter")
    refused(f"emoji:{folder}:gogle:train", "'gogle' is none of google.*did you mean google")
    refused(
        f"emoji:{folder}:valid",
        "'valid' is none of google, twitter, train, test, textures, which may",
    )
    Image.new("RGB", (8, 9)).save(folder / "img/google/64/1f03.png")
    refused(f"emoji:{folder}", "1f03.png is 9x8, expected 64x64")
    (folder / "img/google/64/1f03.png").unlink()
    refused(f"emoji:{folder}", "1f03.png")
    listed = (folder / "emoji.json").read_text()
    (folder / "emoji.json").write_text(listed.replace("1f02.png", "../1f02.png"))
    refused(f"emoji:{folder}", "is no list of emoji .*no file name")
    (folder / "emoji.json").write_text("[{}]")
    refused(f"emoji:{folder}", "is no list of emoji")
    (folder / "emoji.json").write_text("[]")
    refused(f"emoji:{folder}", "lists no emoji")


@pytest.mark.skipif("JAXGAN_EMOJI" not in os.environ, reason="JAXGAN_EMOJI names no folder")
def test_the_real_packages():
    source = open_source(f"emoji:{os.environ['JAXGAN_EMOJI']}")
    assert len(source) == 3786
    assert len(source.classes) == 10
    assert len({source[i]["text"][0] for i in range(len(source))}) == 3780  # six are there twice
