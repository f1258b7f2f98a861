"""TuSimple's scores against the official evaluator and by hand."""

import json

import numpy as np
import pytest

from mmptq.lanes.evaluation import tusimple_image_scores

ROWS = list(range(160, 720, 10))
LANE = [600.0] * len(ROWS)


def official_cases(real_data):
    return json.loads((real_data / 'lane_metric/tusimple_vectors_a.json').read_text())


def test_official_cases(real_data):
    vectors = official_cases(real_data)
    for case in vectors['cases']:
        rows = case.get('h_samples', vectors['h_samples'])
        scores = tusimple_image_scores(case['pred'], case['gt'], rows, case['run_time'])
        expected = case['accuracy'], case['fp'], case['fn']
        assert scores == pytest.approx(expected, abs=1e-12), case['name']


def test_official_lists(real_data):
    vectors = official_cases(real_data)
    cases = {case['name']: case for case in vectors['cases']}
    for entry in vectors['lists']:
        scores = [
            tusimple_image_scores(c['pred'], c['gt'], vectors['h_samples'], c['run_time'])
            for c in (cases[name] for name in entry['cases'])
        ]
        expected = entry['accuracy'], entry['fp'], entry['fn']
        assert np.mean(scores, axis=0) == pytest.approx(expected, abs=1e-12)


def test_vertical_lane_by_hand():
    within, outside = [619.9] * len(ROWS), [620.0] * len(ROWS)
    assert tusimple_image_scores([within], [LANE], ROWS) == (1, 0, 0)
    assert tusimple_image_scores([outside], [LANE], ROWS) == (0, 1, 1)


def test_slanted_lane_has_more_room_along_x():
    slanted = [100.0 + row for row in ROWS]  # 45 degrees: 20 * sqrt(2) = 28.28 px
    assert tusimple_image_scores([[x + 28.2 for x in slanted]], [slanted], ROWS) == (1, 0, 0)
    assert tusimple_image_scores([[x + 28.3 for x in slanted]], [slanted], ROWS) == (0, 1, 1)


def test_images_without_lanes():
    assert tusimple_image_scores([], [], ROWS) == (0, 0, 0)
    assert tusimple_image_scores([LANE], [], ROWS) == (0, 1, 0)
    assert tusimple_image_scores([], [LANE, LANE], ROWS) == (0, 0, 1)


def test_too_slow_or_too_many():
    assert tusimple_image_scores([LANE], [LANE], ROWS, run_time=200) == (1, 0, 0)
    assert tusimple_image_scores([LANE], [LANE], ROWS, run_time=201) == (0, 0, 1)
    assert tusimple_image_scores([LANE] * 4, [LANE], ROWS) == (0, 0, 1)


def test_other_length_is_refused():
    with pytest.raises(ValueError, match='predicted lane has 55 x for 56 h_samples'):
        tusimple_image_scores([LANE[1:]], [LANE], ROWS)
    with pytest.raises(ValueError, match='true lane has 55 x'):
        tusimple_image_scores([LANE], [LANE[1:]], ROWS)
