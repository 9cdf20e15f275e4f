"""Clips of files, and files that are none."""

import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.fields import Clip, Framing
from jaxgan.fields.pixels import Reading
from jaxgan.fields.video import read_clip, shots, write_mp4

av = pytest.importorskip("av")


def moving(frames=12, height=32, width=48):
    """A white bar that moves right by a pixel a frame, on grey that says the frame's number."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    for number, frame in enumerate(clip):
        frame[:] = 10 * number
        frame[8:16, number : number + 8] = 255
    return clip


def gif(clip, path, milliseconds=50):
    first, *rest = map(Image.fromarray, clip)
    first.save(path, save_all=True, append_images=rest, duration=milliseconds)


def encoded(clip, path, codec, rate=24):
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for each in clip:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        file.mux(stream.encode())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    return tmp_path / "clips"


def opened(folder, **reading):
    return data.open_source(f"clips:{folder}", Reading(**reading))


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.apng", "a.webp", "a.png"])
def test_frames_of_each_format_are_those_that_were_written(folder, name):
    clip, path = moving(), folder / name
    if name == "a.mp4":
        write_mp4(clip, path, 24)
    elif name == "a.webm":
        encoded(clip, path, "libvpx-vp9")
    elif name == "a.png":  # a strip
        clip = clip[:, :, :32]
        Image.fromarray(np.concatenate(list(clip), 1)).save(path)
    elif name == "a.apng":
        first, *rest = map(Image.fromarray, clip)
        first.save(path, format="PNG", save_all=True, append_images=rest)
    elif name == "a.webp":
        first, *rest = map(Image.fromarray, clip)
        first.save(path, save_all=True, append_images=rest, lossless=True)
    else:
        gif(clip, path)
    source = opened(folder)
    (place, shape), *others = source.shapes("clip")
    assert (place, shape, others) == (str(path), clip.shape, [])
    chosen = np.array([2, 5, 5, 11])
    taken = np.stack(pickle.loads(pickle.dumps(source))[0]["clip"][chosen])
    near = 12 if name in ("a.mp4", "a.webm") else 3  # lossy; GIF's palette
    assert abs(taken.astype(int) - clip[chosen]).mean() < near
    np.testing.assert_array_equal(read_clip(path)[chosen], taken)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng"])
def test_frames_that_animations_hold_longer_come_back(tmp_path, name):
    clip = moving(4)[[0, 0, 0, 1, 2, 2, 3]]
    first, *rest = map(Image.fromarray, clip)
    how = {"format": "PNG"} if name == "a.apng" else {"lossless": True} if "webp" in name else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=80, **how)
    np.testing.assert_allclose(read_clip(tmp_path / name).astype(int), clip, atol=8)


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_times_of_animations_are_kept_and_what_is_transparent_is_white(folder, kind):
    frames = [Image.new("RGBA", (32, 32), (0, 0, 0, 0)) for _ in range(4)]
    for number, frame in enumerate(frames):
        frame.paste((255, 0, 0, 255), (number, 0, number + 4, 4))
    path = folder / ("a.webp" if kind == "WEBP" else "a.apng")
    how = {"lossless": True} if kind == "WEBP" else {}
    first, *rest = frames
    first.save(path, kind, save_all=True, append_images=rest, duration=[40, 50, 200, 40], **how)
    seconds = [shot.seconds for shot in shots(path.read_bytes(), str(path))]
    np.testing.assert_allclose(seconds, [0, 0.04, 0.09, 0.29])
    clip = read_clip(path)
    assert clip.shape == (4, 32, 32, 3)
    assert (clip[:, -1, -1] == 255).all()
    np.testing.assert_array_equal(clip[2, 0, 3], (255, 0, 0))


def test_a_film_that_was_trimmed_is_whole(tmp_path):
    encoded(moving(24), tmp_path / "whole.mp4", "libx264")
    with av.open(str(tmp_path / "whole.mp4")) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
        with av.open(str(tmp_path / "cut.mp4"), "w") as out:
            stream = out.add_stream_from_template(file.streams.video[0])
            begin = packets[8].pts
            for packet in packets:
                packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
                packet.stream = stream
                out.mux(packet)
    found = read_clip(tmp_path / "cut.mp4")
    assert 8 <= len(found) < 24


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4", "a.avi"])
def test_films_that_are_cut_are_refused(tmp_path, name):
    encoded(
        np.tile(moving(24), (4, 1, 1, 1)),
        tmp_path / name,
        "libvpx-vp9" if name == "a.webm" else "libx264",
    )
    whole = (tmp_path / name).read_bytes()
    assert len(read_clip(tmp_path / name)) == 96
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=r"ends after|damaged|no pictures") as told:
        read_clip(tmp_path / name)
    assert "\n" not in str(told.value)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "x").mkdir()
    clip = moving(12)
    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / "x" / f"f{number}.png")
    np.testing.assert_array_equal(read_clip(tmp_path / "x"), clip)
    (source,) = data.open_source(f"frames:{tmp_path}")
    np.testing.assert_array_equal(np.stack(source["clip"][np.arange(12)]), clip)
    with pytest.raises(UserError, match=r"holds frames itself, .* give the folder above it"):
        data.open_source(f"frames:{tmp_path / 'x'}")


def test_odd_sizes_are_written_with_an_edge(tmp_path):
    write_mp4(moving(3, 15, 17), tmp_path / "odd.mp4", 12.5)
    assert read_clip(tmp_path / "odd.mp4").shape == (3, 16, 18, 3)


def test_sub_folders_are_classes_and_folders_of_frames_are_clips(tmp_path):
    for label, name in (("run", "x"), ("run", "y"), ("walk", "z")):
        (tmp_path / label / name).mkdir(parents=True)
        for number, frame in enumerate(moving(4)):
            Image.fromarray(frame).save(tmp_path / label / name / f"{number:03d}.png")
    source = data.open_source(f"frames:{tmp_path}")
    assert (len(source), source.classes) == (3, ("run", "walk"))
    assert source.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(np.stack(source[2]["clip"][np.arange(4)]), moving(4))
    np.testing.assert_array_equal(read_clip(tmp_path / "run" / "x"), moving(4))
    Image.fromarray(moving(1, 9, 9)[0]).save(tmp_path / "run" / "x" / "002.png")
    with pytest.raises(UserError, match=r"002.png is 9x9 .*, frames before it are 48x32"):
        list(data.open_source(f"frames:{tmp_path}").shapes("clip"))


def test_frame_rate_thins_and_stride_passes_over(folder):
    encoded(moving(24), folder / "a.mp4", "libx264", rate=24)
    gif(moving(10), folder / "b.gif", 100)
    half = opened(folder, fps=8)
    assert [shape[0] for _, shape in half.shapes("clip")] == [8, 8]
    frames = np.stack(half[0]["clip"][np.arange(8)])[:, 0, -1, 0]
    np.testing.assert_allclose(frames, 30 * np.arange(8), atol=8)
    assert data.fingerprint(half) != data.fingerprint(opened(folder))
    with pytest.raises(UserError, match=r"b.gif has 10 frames a second, --data.fps is 20: give"):
        list(opened(folder, fps=20).shapes("clip"))
    groups = ({"clip": Clip((3, 16, 16, 1))},)
    framing = Framing(resize=True, stride=3)
    report = data.scan(opened(folder), groups, framing=framing)
    assert "2 clips" in report.text()
    batch = data.batches(opened(folder), groups, data.Order(batch=2), framing=framing)[0]["clip"]
    assert batch.shape == (2, 3, 16, 16, 1)
    steps = np.diff((batch[:, :, -1, -1, 0] + 1) * 127.5, axis=1)
    np.testing.assert_allclose(steps, 30, atol=8)
    Image.fromarray(np.concatenate(list(moving(5, 8, 8)), 1)).save(folder / "c.png")
    with pytest.raises(UserError, match=r"c.png has frames without times"):
        list(opened(folder, fps=8).shapes("clip"))


def turned(path, by):
    """Sets the display matrix of a video to a turn by 90 degrees or an odd one."""
    content = path.read_bytes()
    one, matrix = 0x10000, content.index(b"tkhd") + 4 + 40
    values = {90: (0, one, 0, -one, 0, 0, 0, 0, 0x40000000)}.get(
        by, (one, one, 0, -one, one, 0, 0, 0, 0x40000000)
    )
    packed = np.array(values, ">i4").tobytes()
    path.write_bytes(content[:matrix] + packed + content[matrix + 36 :])


def test_turned_videos_are_set_upright(folder):
    write_mp4(moving(), folder / "a.mp4", 24)
    turned(folder / "a.mp4", 90)
    source = opened(folder)
    assert source[0]["clip"].shape == (12, 48, 32, 3)
    taken = source[0]["clip"][np.array([0])][0].astype(int)
    upright = np.rot90(moving()[0], -1)
    assert abs(taken - upright).mean() < 12
    turned(folder / "a.mp4", 45)
    with pytest.raises(UserError, match=r"a.mp4 is to be turned by .*45 degrees, expected 0, 90"):
        list(opened(folder).shapes("clip"))


def sound(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 2048), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def two_sizes(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.pix_fmt = "yuvj420p"
        stream.height, stream.width = 32, 48
        for number, (height, width) in enumerate(((32, 48), (16, 16))):
            codec = av.CodecContext.create("mjpeg", "w")
            codec.height, codec.width, codec.pix_fmt = height, width, "yuvj420p"
            codec.time_base = Fraction(1, 10)
            frame = av.VideoFrame.from_ndarray(moving(1, height, width)[0], format="rgb24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts = number
            for packet in [*codec.encode(frame), *codec.encode()]:
                packet.stream = stream
                packet.pts = packet.dts = number
                file.mux(packet)


def test_what_is_no_clip_is_named_in_one_line(folder):
    write_mp4(moving(), folder / "good.mp4", 24)
    whole = (folder / "good.mp4").read_bytes()
    encoded(moving(), folder / "good.webm", "libvpx-vp9")
    wrong = {
        "cut.mp4": whole[: len(whole) // 2],
        "noise.mp4": bytes(range(256)) * 8,
        "empty.mp4": b"",
        "text.gif": b"no image at all",
    }
    messages = {
        "cut.mp4": r"cut.mp4: found a damaged video",
        "noise.mp4": r"noise.mp4: found a damaged video",
        "empty.mp4": r"empty.mp4: found an empty file, expected a video",
        "text.gif": r"text.gif: found no image but",
        "sound.mp4": r"sound.mp4 has sound alone, expected a video: remove it",
        "sizes.mkv": r"sizes.mkv has frames of different sizes, 48x32 .* and then 16x16",
        "still.png": r"still.png is an image of 48x40, no clip",
    }
    for name, content in wrong.items():
        (folder / name).write_bytes(content)
    sound(folder / "sound.mp4")
    two_sizes(folder / "sizes.mkv")
    Image.new("RGB", (48, 40)).save(folder / "still.png")
    source = opened(folder)
    seen = {}
    for footage in source.footage:
        try:
            assert footage.shape[0] == 12
        except UserError as error:
            seen[footage.name.rpartition("/")[2]] = str(error)
    assert set(seen) == set(messages)
    for name, message in messages.items():
        with pytest.raises(UserError, match=message):
            raise UserError(seen[name])
        assert "\n" not in seen[name]
    with pytest.raises(UserError, match="7 of 9 clips are damaged, more than half"):
        opened(folder, skip_broken=True)
    for name in ("text.gif", "noise.mp4", "cut.mp4", "empty.mp4", "still.png"):
        (folder / name).unlink()
    kept = opened(folder, skip_broken=True)
    assert (len(kept), len(kept.skipped)) == (2, 2)
    assert kept.notes == ("skipped 2 damaged of 4 clips",)


def test_short_clips_and_empty_folders_are_refused(folder):
    with pytest.raises(UserError, match=r"clips:.* holds no clips, expected files in .mp4"):
        opened(folder)
    gif(moving(4), folder / "a.gif")
    with pytest.raises(UserError, match=r"a.gif has 4 frames, the system draws 5: leave out"):
        data.scan(opened(folder), ({"clip": Clip((5, 32, 48, 3))},))
    (folder / "deep").mkdir()
    gif(moving(4), folder / "deep" / "b.gif")
    with pytest.raises(UserError, match="holds clips at several depths"):
        opened(folder)
    with pytest.raises(UserError, match="there is no folder 'nope'"):
        data.open_source("clips:nope")


def test_a_video_without_frames_or_pyav_is_named(folder, monkeypatch):
    (folder / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(
        UserError, match=r"a video, which PyAV reads .*pip install 'jaxgan\[video\]'"
    ):
        list(opened(folder).shapes("clip"))


def test_large_clips_need_permission(folder):
    gif(moving(), folder / "a.gif")
    small = dataclasses.asdict(Reading(max_pixels=48 * 32 * 12 - 1))
    with pytest.raises(UserError, match="more than 18,431 pixels"):
        list(opened(folder, **small).shapes("clip"))
