import numpy as np
import pytest

from mmptq.demo.road_light import darken, dazzle, paint_sky
from mmptq.demo.road_view import RoadView


@pytest.fixture
def view():
    return RoadView.random(np.random.default_rng(0), 328, 118, False)


def test_sky_fills_what_is_above_the_horizon(view):
    image = paint_sky(np.random.default_rng(1), view)
    assert image.shape == (118, 328, 3) and image.dtype == np.float32
    assert (image[: view.top].mean(axis=2) > 10).all()
    assert not image[view.top :].any()


def test_dazzle_brightens_and_takes_contrast(view):
    rng = np.random.default_rng(1)
    image = rng.uniform(40, 160, (118, 328, 3)).astype(np.float32)
    result = dazzle(rng, image, view)
    assert result.mean() > image.mean()
    assert result.max() > 255 > image.max()


def test_night_is_dark_but_for_lamps_and_the_road_ahead(view):
    image = np.full((118, 328, 3), 120, np.float32)
    lamp = np.array([40.0, 60.0])
    result = darken(np.random.default_rng(2), image, view, [lamp, np.array([-900.0, 4000.0])])
    assert result.mean() < 0.6 * image.mean()
    assert result[60, 40].mean() > 120
    ahead = np.argmin(np.abs(view.distances[:, 0] - 7)) + view.top
    assert result[ahead, 164].mean() > 1.5 * result[ahead, 2].mean()
