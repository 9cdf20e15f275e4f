import io

import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.fields.pixels import Fit, channels, read


def encoded(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def noise(rng, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(("mode", "count"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_read_keeps_8_bit_pixels_as_they_are(rng, mode, count):
    pixels = noise(rng, 5, 7, count)
    file = encoded(Image.fromarray(pixels[:, :, 0] if count == 1 else pixels, mode=None))
    np.testing.assert_array_equal(read(file), pixels)


def test_read_looks_up_palettes(rng):
    pixels = noise(rng, 4, 4, 3)
    image = Image.fromarray(pixels).quantize(16)  # 16 pixels: 16 colours lose nothing
    np.testing.assert_array_equal(read(encoded(image)), pixels)


def test_read_finds_transparency_in_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    expected = [[[10, 20, 30, 255], [40, 50, 60, 0]]]
    np.testing.assert_array_equal(read(encoded(image, transparency=1)), expected)


def test_read_scales_16_bits_to_8():
    wide = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    expected = np.rint(wide / 257)[:, :, None]
    np.testing.assert_array_equal(read(encoded(Image.fromarray(wide))), expected)


def test_read_turns_bilevel_into_black_and_white():
    image = Image.fromarray(np.array([[True, False]]))
    np.testing.assert_array_equal(read(encoded(image)), [[[255], [0]]])


def test_read_turns_cmyk_into_rgb(rng):
    image = Image.fromarray(noise(rng, 8, 8, 4), mode=None).convert("RGB").convert("CMYK")
    assert read(encoded(image, "JPEG")).shape == (8, 8, 3)


def test_read_puts_photographs_upright(rng):
    pixels = noise(rng, 3, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    file = encoded(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(read(file), np.rot90(pixels, -1))


def test_grey_is_repeated_and_alpha_is_opaque(rng):
    grey = noise(rng, 3, 4, 1)
    np.testing.assert_array_equal(channels(grey, 3), np.concatenate([grey] * 3, axis=2))
    opaque = np.full_like(grey, 255)
    np.testing.assert_array_equal(channels(grey, 4), np.concatenate([grey] * 3 + [opaque], axis=2))


def test_luma_is_pillows(rng):
    colour = noise(rng, 32, 32, 3)
    expected = np.asarray(Image.fromarray(colour).convert("L"))
    np.testing.assert_array_equal(channels(colour, 1)[:, :, 0], expected)


@pytest.mark.parametrize(("given", "count"), [(2, 1), (4, 3), (2, 3)])
def test_alpha_is_composited_on_white(rng, given, count):
    image = noise(rng, 16, 16, given)
    alpha = image[:, :, -1:] / 255
    expected = image[:, :, :-1] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(
        channels(image, count), np.broadcast_to(expected, (16, 16, count)), atol=0.5
    )


def test_grey_of_transparent_colour_is_the_grey_of_the_composite(rng):
    image = noise(rng, 8, 8, 4)
    np.testing.assert_array_equal(channels(image, 1), channels(channels(image, 3), 1))


def test_alpha_asked_for_is_kept(rng):
    image = noise(rng, 3, 3, 2)
    np.testing.assert_array_equal(channels(image, 4), image[:, :, [0, 0, 0, 1]])


def test_fit_leaves_an_image_of_the_right_shape_alone(rng):
    image = noise(rng, 6, 6, 3)
    np.testing.assert_array_equal(Fit(shape=(6, 6, 3), resize=True)(image), image)


def test_crop_takes_the_centre(rng):
    image = noise(rng, 218, 178, 3)
    expected = image[29:189, 9:169]
    np.testing.assert_array_equal(Fit(shape=(160, 160, 3), crop=160)(image), expected)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_resize_scales_the_shorter_side_and_cuts_the_centre(rng, count):
    image = noise(rng, 12, 20, count)
    image[:, :, 3:] = 255
    picture = Image.fromarray(image[:, :, 0] if count == 1 else image)
    scaled = np.asarray(picture.resize((10, 6), Image.Resampling.LANCZOS)).reshape(6, 10, count)
    np.testing.assert_array_equal(Fit(shape=(6, 6, count), resize=True)(image), scaled[:, 2:8])


def test_resize_does_not_alias():
    # A checkerboard as fine as the pixels is grey when seen from afar.
    board = (255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)[:, :, None]
    small = Fit(shape=(8, 8, 1), resize=True)(board)
    assert abs(small.astype(int) - 127.5).max() < 3


def test_resize_covers_a_system_that_is_not_square(rng):
    image = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 12, axis=0)
    wide = Fit(shape=(4, 8, 1), resize=True)(image)
    # 12x24 has the aspect ratio of 4x8: the whole width is there.
    assert wide[0, 0, 0] < 25
    assert wide[0, -1, 0] > 205


def test_fit_refuses_what_it_cannot_fit(rng):
    with pytest.raises(UserError, match=r"an image is 6x7x3, the system draws 6x6x3: add --resize"):
        Fit(shape=(6, 6, 3))(noise(rng, 6, 7, 3))
    with pytest.raises(UserError, match=r"too small for --crop 7"):
        Fit(shape=(6, 6, 3), resize=True, crop=7)(noise(rng, 6, 9, 3))
