import pytest
from PIL import Image

from jaxgan.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        path = tmp_path / "photos" / ("a", "b")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (i, 0, 0)).save(path)
    return tmp_path


CONFIG = """
from jaxgan import Data, Experiment, Mesh
from jaxgan.systems.sngan import SNGAN
config = Experiment(
    system=SNGAN(shape=(8, 8, 3), classes=2, generator_channels=(8, 8), halvings=1,
                 discriminator_channels=(8, 8), latent=4),
    data=Data(source="packed"), batch=4, steps=1, mesh=Mesh(data=1))
"""


def test_a_packed_folder_is_a_data_set(place, capsys, monkeypatch):
    assert main(["data", "pack", "photos", "packed", "--size", "8", "--shard-images", "3"]) == 0
    out, err = capsys.readouterr()
    assert out == "packed: 4 images, 2 classes; train with --data packed\n"
    assert err == ""
    (place / "tiny.py").write_text(CONFIG)
    monkeypatch.setattr("jaxgan.bench.SECONDS", 0.01)
    assert main(["bench", "tiny.py", "--input", "--no-step"]) == 0
    assert "packed: " in capsys.readouterr().out


def test_help(capsys):
    assert main(["data"]) == 0
    assert capsys.readouterr().out.startswith("usage: jaxgan data pack DATA OUT")
    with pytest.raises(SystemExit):
        main(["data", "pack", "photos", "out", "--help"])
    assert "--shard-images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pakc"], "no command data 'pakc'; usage: jaxgan data pack DATA OUT"),
        (["pack"], "no DATA OUT given"),
        (["pack", "photos"], "no OUT given"),
        (["pack", "fotos", "out"], "no data set 'fotos'"),
        (["pack", "photos", "photos"], "photos exists"),
        (["pack", "photos", "out", "--size", "0"], "--size is 0"),
        (["pack", "photos", "out", "--sise", "8"], "did you mean --size?"),
        (["pack", "photos/a", "out"], "2.png: found no image but b'text'"),
    ],
)
def test_mistakes_are_told_in_one_line(place, capsys, arguments, expected):
    (place / "photos/a/2.png").write_text("text")
    before = sorted(place.rglob("*"))
    assert main(["data", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
    assert sorted(place.rglob("*")) == before
