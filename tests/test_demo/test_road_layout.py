import numpy as np

from mmptq.demo.road_layout import CATEGORIES, RoadLayout


def layouts(category, count=60):
    return [RoadLayout.random(np.random.default_rng(seed), category) for seed in range(count)]


def test_markings_bound_the_lanes_and_lie_on_the_asphalt():
    for layout in layouts('normal'):
        laterals = [marking.lateral for marking in layout.markings]
        assert len(laterals) == layout.lanes_left + layout.lanes_right + 2
        assert layout.left < laterals[0] and laterals[-1] < layout.right
        assert (np.diff(laterals) > 2.5).all()


def test_slots_are_two_on_each_side_of_the_camera():
    for layout in layouts('normal'):
        for marking in layout.markings:
            nearer = [
                other
                for other in layout.markings
                if other.lateral * marking.lateral > 0 and abs(other.lateral) < abs(marking.lateral)
            ]
            if marking.lateral < 0:
                assert marking.slot == (1 - len(nearer) if len(nearer) < 2 else -1)
            else:
                assert marking.slot == (2 + len(nearer) if len(nearer) < 2 else -1)


def test_a_crossing_has_no_markings_and_worn_ones_are_fainter():
    assert not any(layout.markings for layout in layouts('cross', 5))
    mean = {
        category: np.mean([m.opacity for layout in layouts(category) for m in layout.markings])
        for category in CATEGORIES
        if category != 'cross'
    }
    assert mean['noline'] < 0.5 * min(value for key, value in mean.items() if key != 'noline')


def test_solid_dashed_double_and_yellow_lines_occur():
    markings = [marking for layout in layouts('normal') for marking in layout.markings]
    assert {marking.period > 0 for marking in markings} == {True, False}
    assert {marking.double for marking in markings} == {True, False}
    assert len({marking.colour for marking in markings}) == 2
