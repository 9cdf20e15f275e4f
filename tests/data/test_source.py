import pytest

from jaxgan.data import EMBEDDED, fingerprint, open_source
from jaxgan.errors import UserError


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "mnist5",
            r"^no data set 'mnist5', and no folder or file of that name: did you mean mnist5k",
        ),
        ("./photos", "known names are mnist5k, digits, ring, grid, moving_digits, moving_shapes$"),
        ("cifar10", "TFDS has one: use tfds:cifar10$"),
        (__file__, "is a file, expected a folder of images"),
        ("nope.zip", r"^nope.zip does not exist: give a file, or a pattern"),
        ("*.png", r"^\*.png stands for no files: give a file, or a pattern of .tar files"),
        ("", "--data is empty"),
        ("x.h5", r"^x.h5 is a file, .*: save them as FILE.npz with `images`"),
        ("x.png", "x.png is one image, .*: give its folder, or image:x.png"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.h5", "x.png"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=message):
        open_source(spec)


def test_fingerprints_tell_data_sets_apart_and_do_not_change():
    prints = {name: fingerprint(open_source(name)) for name in EMBEDDED}
    assert len(set(prints.values())) == len(EMBEDDED)
    assert prints == {name: fingerprint(open_source(name)) for name in EMBEDDED}
    assert all(len(value) == 32 and int(value, 16) >= 0 for value in prints.values())


def test_names_are_kept_as_typed():
    assert all(open_source(name).name == name for name in EMBEDDED)
