import numpy as np
import pytest

from jaxgan import pictures


def test_bytes_round_to_the_nearest_and_stay_in_range():
    values = np.array([-1.2, -1, -0.9999, 0, 0.5, 1, 1.2], np.float32)
    np.testing.assert_array_equal(pictures.to_uint8(values), [0, 0, 0, 128, 191, 255, 255])


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_places_images_in_rows(channels):
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((4, 5, channels), np.uint8)
    pixels = np.asarray(pictures.grid(images, columns=4))
    assert pixels.shape[:2] == (2 * 4 + 2, 4 * 5 + 3 * 2)
    for index in range(6):
        top, left = 6 * (index // 4), 7 * (index % 4)
        assert (pixels[top : top + 4, left : left + 5] == index).all()
    assert (pixels[6:, 14:] == 255).all()  # no image there


def test_scatter_draws_points_where_they_are():
    image = np.asarray(pictures.scatter(np.array([[0.0, 0.0], [10.0, 10.0]])))
    assert image.shape == (512, 512, 3)
    assert (image != 255).any()


def test_attention_shows_where_each_place_looks():
    """Every query looks at the last key alone: the lower right is bright, all else is dimmed."""
    image = np.full((16, 16, 1), 100, np.uint8)
    looks = np.zeros((64, 16), np.float32)
    looks[:, -1] = 1
    pixels = pictures.attention(image, looks).astype(int)
    assert pixels.shape == (16, 5 * 16, 3)
    cell = pixels[:, 16:32]  # beside the marked image, for its first place
    assert cell[14, 14].max() > 150
    assert (cell[:8, :8] <= 40).all()
