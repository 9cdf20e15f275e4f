import io
import logging
import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from jaxgan.errors import UserError
from jaxgan.fields import pixels as module
from jaxgan.fields.pixels import MAX_PIXELS, Fit, Picture, channels, covering, load, read
from jaxgan.fields.video import shots


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


def exif_of(*rows: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of entries (tag, type, count, value)."""
    content = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(rows))
    entries = (struct.pack("<HHI", *row[:3]) + row[3].ljust(4, b"\0") for row in rows)
    return content + b"".join(entries) + bytes(4)


ORIENTATION = (0x112, 3, 1, struct.pack("<H", 6))
WIDTH_OF_A_WRONG_TYPE = (0x100, 7, 4, b"\1\2\3\4")


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (exif_of(ORIENTATION), True),
        (exif_of(WIDTH_OF_A_WRONG_TYPE, ORIENTATION), True),
        (exif_of((0x112, 2, 3, b"6\0\0")), False),  # text
        (exif_of((0x112, 3, 1, struct.pack("<H", 77))), False),  # no orientation
        (exif_of((0x112, 3, 9999, b"\xff\xff\xff\xff")), False),  # beyond the end
        (b"Exif\0\0XX*\0garbage", False),
        (b"Exif\0\0", False),
        (b"Exif\0\0II*\0\xff\xff\xff\x7f", False),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_of_exif_the_orientation_is_read_whatever_the_rest_is(rng, exif, turned, kind):
    options = {} if kind == "JPEG" else {"lossless": True}
    image = Image.fromarray(noise(rng, 8, 16, 3))
    plain = read(encoded(image, kind, **options))
    expected = np.rot90(plain, -1) if turned else plain
    np.testing.assert_array_equal(read(encoded(image, kind, exif=exif, **options)), expected)


def test_exif_that_cannot_be_read_is_said_once(rng, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "_SAID", set())

    def broken(image):
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "getexif", broken)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(noise(rng, 8, 8, 3)).save(tmp_path / name)
    with caplog.at_level(logging.WARNING, "jaxgan"):
        assert read(tmp_path / "a.jpg").shape == read(tmp_path / "b.jpg").shape == (8, 8, 3)
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}/a.jpg has EXIF that cannot be read")


@pytest.mark.parametrize(
    "error", [struct.error, TypeError, SyntaxError, IndexError, MemoryError, KeyError, OSError]
)
def test_whatever_a_decoder_raises_names_the_file(rng, tmp_path, monkeypatch, error):
    def fail(image):
        raise error("of\nthe decoder")

    path = tmp_path / "a.png"
    Image.fromarray(noise(rng, 8, 8, 3)).save(path)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    for decode in (read, load):
        with pytest.raises(UserError, match="a damaged image") as caught:
            decode(path)
        assert str(caught.value).startswith(f"{path}: found ")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^set \(item 7\): found"):
        read(path.read_bytes(), name="set (item 7)")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def test_programs_are_no_images(tmp_path, monkeypatch):
    """Pillow gives EPS to Ghostscript, whatever the file is called."""
    (tmp_path / "a.png").write_bytes(EPS)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    with pytest.raises(UserError, match=r"a.png: found no image but b'%!PS-Adobe"):
        read(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"found no image but b'8BPS"):
        read(b"8BPS" + bytes(40))


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (make_pipe, "a pipe, not a regular file"),
        (make_socket, "a socket, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "a device, not a regular file"),
        (lambda path: path.mkdir(), "a folder, not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40), "1,099,511,627"),
    ],
)
def test_what_is_no_file_neither_hangs_nor_fills_the_memory(tmp_path, monkeypatch, make, found):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    for decode in (read, load):
        with pytest.raises(UserError, match=rf"a.png: found .*{found}.*replace or remove it"):
            decode(tmp_path / "a.png")


def png_of(height: int, width: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sums = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sums

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


def test_images_of_too_many_pixels_are_not_decoded(rng, monkeypatch):
    refused = r"^bomb: found an image of 30000x20000, more than 100,000,000 pixels.*max-pixels"
    with pytest.raises(UserError, match=refused):
        read(png_of(20_000, 30_000), name="bomb")
    image = encoded(Image.fromarray(noise(rng, 6, 8, 3)))
    with pytest.raises(UserError, match="an image of 8x6, more than 47 pixels"):
        read(image, max_pixels=47)
    assert read(image, max_pixels=48).shape == (6, 8, 3)
    # What is more than Pillow's own limit is neither warned of nor refused.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read(image, max_pixels=48).shape == (6, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def frames(content, **options) -> np.ndarray:
    content = content if isinstance(content, bytes) else content.getvalue()
    return np.stack([shot.pixels() for shot in shots(content, "x.gif", **options)])


def animation(rng, kind: str) -> bytes:
    pictures = [Image.fromarray(noise(rng, 4, 4, 3)) for _ in range(3)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:]).getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken_and_that_is_said(rng, caplog, monkeypatch, kind):
    monkeypatch.setattr(module, "_SAID", set())
    content = animation(rng, kind)
    first = frames(content)[0]
    with caplog.at_level(logging.WARNING, "jaxgan"):
        made = read(content, name="a")
        read(content, name="b")
    np.testing.assert_array_equal(channels(made, 3), first)
    (line,) = caplog.messages
    assert line.startswith("a has several frames, of which the first is taken")


def test_frames_of_an_animation_count_together(rng):
    content = animation(rng, "PNG")
    assert frames(content, max_pixels=48).shape == (3, 4, 4, 3)
    with pytest.raises(UserError, match="an animation of 4x4, more than 47 pixels"):
        frames(content, max_pixels=47)


def test_a_mask_covers_nothing_where_it_is_transparent():
    layer = np.array([[[255, 255, 255, 255], [255, 255, 255, 0], [0, 0, 0, 255]]], np.uint8)
    assert covering(layer)[..., 0].tolist() == [[255, 0, 0]]
    assert covering(layer[..., 2:])[..., 0].tolist() == [[255, 0, 0]]
    assert covering(layer[..., :1])[..., 0].tolist() == [[255, 255, 0]]
    assert covering(np.array([[[200, 200, 200, 128]]], np.uint8)).item() == 100


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


def test_pillows_own_limit_neither_warns_nor_ends(monkeypatch):
    # Cropping looks at the limit once more, while an image is decoded: frames of GIFs, tiles.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    first, second = Image.new("RGB", (20, 20)), Image.new("RGB", (20, 20), "white")
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    assert frames(content).shape == (2, 20, 20, 3)
    lzw = encoded(Image.new("L", (20, 20)), "TIFF", compression="tiff_lzw")
    assert read(lzw).shape == (20, 20, 1)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_what_pillow_says_on_the_side_is_not_heard(recwarn, caplog):
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 2**31, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 65535), (278, 4, 1, 8), (279, 4, 1, 64)]
    content = b"II*\0" + struct.pack("<IH", 8, len(tags))
    content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(100)
    with pytest.raises(UserError, match="odd: found no image"):
        read(content, name="odd")
    assert not recwarn.list
    assert not caplog.records


def photograph(width: int, height: int, kind: str = "JPEG", mode: str = "RGB", **options) -> bytes:
    """Waves some pixels long, so that a shift by half a pixel shows."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / (5 + k)) * np.cos(y / (7 - k)) for k in range(3)]
    image = Image.fromarray(np.stack(waves, -1).astype(np.uint8)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encoded(image, kind, **options).getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "CMYK")],
)
@pytest.mark.parametrize(
    "fit",
    [
        Fit(shape=(32, 32, 3), resize=True),
        Fit(shape=(20, 30, 1), resize=True),
        Fit(shape=(16, 16, 4), resize=True, crop=60),
        Fit(shape=(75, 100, 3)),
        Fit(shape=(32, 32, 3), resize=True, nearest=True),
    ],
)
def test_a_picture_is_fitted_as_its_pixels_are(kind, mode, fit):
    content = photograph(100, 75, kind, mode)
    made = Picture(content, name="a", max_pixels=MAX_PIXELS).fitted(fit)
    np.testing.assert_array_equal(made, fit(read(content)), strict=True)


@pytest.mark.parametrize(("width", "height"), [(101, 75), (75, 101), (320, 200), (99, 640)])
def test_a_draft_is_nearly_what_the_whole_picture_is_fitted_to(width, height):
    content, fit = photograph(width, height, quality=95), Fit(shape=(24, 24, 3), resize=True)
    assert fit.reduction(width, height) > 1
    picture = Picture(content, name="a", max_pixels=MAX_PIXELS)
    draft, exact = (picture.fitted(fit, draft=draft) for draft in (True, False))
    assert 0 < np.abs(draft - exact.astype(float)).mean() < 1.1
    np.testing.assert_array_equal(exact, fit(read(content)))


def test_drafts_leave_enough_to_scale():
    fit = Fit(shape=(128, 128, 3), resize=True)
    sides = {319: 1, 320: 2, 375: 2, 512: 2, 640: 4, 1024: 4, 1280: 8, 9999: 8}
    assert {side: fit.reduction(2 * side, side) for side in sides} == sides
    assert Fit(shape=(128, 128, 3), resize=True, crop=500).reduction(999, 999) == 1
    assert Fit(shape=(64, 256, 3), resize=True).reduction(1024, 400) == 2


def test_a_picture_that_is_to_be_turned_is_no_draft():
    exif = Image.Exif()
    exif[0x0112] = 6
    content, fit = photograph(200, 101, exif=exif), Fit(shape=(16, 16, 3), resize=True)
    made = Picture(content, name="a", max_pixels=MAX_PIXELS).fitted(fit, draft=True)
    np.testing.assert_array_equal(made, fit(read(content)))


def test_a_picture_names_its_file():
    with pytest.raises(UserError, match=r"b.jpg: found no image but b'gone'"):
        Picture(b"gone", name="b.jpg", max_pixels=9).fitted(Fit(shape=(2, 2, 3)))
    with pytest.raises(UserError, match=r"is 10x20x3, the system draws 2x2x3: add --resize"):
        Picture(photograph(20, 10), name="b", max_pixels=999).fitted(Fit(shape=(2, 2, 3)))
