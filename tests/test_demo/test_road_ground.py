from dataclasses import replace

import numpy as np
import pytest

from mmptq.demo.road_ground import Ground
from mmptq.demo.road_layout import Marking, RoadLayout
from mmptq.demo.road_view import RoadView

LINE = Marking(
    lateral=1.8,
    slot=2,
    colour=(255.0, 255.0, 255.0),
    width=0.2,
    period=0.0,
    dash=4.0,
    phase=0.0,
    opacity=1.0,
    wear=0.0,
)


@pytest.fixture
def ground():
    rng = np.random.default_rng(0)
    view = RoadView.random(rng, 328, 118, False)
    return Ground(rng, view, RoadLayout.random(rng, 'normal'))


def painted(ground, marking) -> np.ndarray:
    """(rows, width) how much brighter a marking makes the ground."""
    before = ground.image.copy()
    ground.draw_marking(marking)
    return (ground.image - before).mean(axis=2)


def test_a_solid_line_follows_its_label(ground):
    change = painted(ground, LINE)
    points = ground.view.lane_points(LINE.lateral)
    rows = np.round(points[:, 1]).astype(int) - ground.view.top
    near = [change[row, round(x)] for row, x in zip(rows, points[:, 0], strict=True)]
    assert min(near[:5]) > 50
    columns = np.arange(change.shape[1])
    for row, x in zip(rows[:5], points[:5, 0], strict=True):
        assert (change[row] * columns).sum() / change[row].sum() == pytest.approx(x, abs=1.5)


def test_dashes_leave_gaps_and_wear_takes_paint(ground):
    solid = painted(ground, LINE).sum()
    dashed = painted(ground, replace(LINE, lateral=1.4, period=6.0, dash=2.0)).sum()
    worn = painted(ground, replace(LINE, lateral=1.0, wear=0.6)).sum()
    assert 0 < dashed < 0.8 * solid
    assert 0 < worn < 0.8 * solid


def test_double_lines_have_twice_the_paint(ground):
    single = painted(ground, LINE).sum()
    double = painted(ground, replace(LINE, lateral=0.8, double=True)).sum()
    assert double == pytest.approx(2 * single, rel=0.25)


def test_crossing_brightens_symbols_brighten_shadows_darken(ground):
    before = ground.image.copy()
    ground.draw_crossing(8.0)
    assert (ground.image - before).max() > 50
    before = ground.image.copy()
    ground.draw_symbols()
    assert (ground.image - before).max() > 30
    before = ground.image.copy()
    ground.cast_shadows(True)
    assert (ground.image <= before + 1e-3).all()
    assert ground.image.mean() < 0.97 * before.mean()


def test_a_side_street_changes_the_verges_only(ground):
    before = ground.image.copy()
    ground.draw_side_street(6.0)
    changed = np.abs(ground.image - before).max(axis=2) > 1
    laterals = ground.view.laterals
    inside = (laterals > ground.layout.left + 1) & (laterals < ground.layout.right - 1)
    assert changed.any() and not changed[inside].any()
