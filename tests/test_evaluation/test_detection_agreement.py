import math

import numpy as np
import pytest

from mmptq.evaluation import detection_agreement, summarize_agreement


def detections(*rows):
    """Rows of (x, y, z, heading, label, score)."""
    rows = np.array(rows, dtype=float).reshape(-1, 6)
    sizes = np.ones((len(rows), 3))
    boxes = np.concatenate([rows[:, :3], sizes, rows[:, 3:4]], 1)
    return dict(boxes=boxes, labels=rows[:, 4].astype(int), scores=rows[:, 5])


def test_values_by_hand():
    reference = detections((0, 0, 0, 3.1, 0, 0.9), (20, 0, 0, 0, 1, 0.8))
    other = detections((0.3, 0, 0.4, -3.1, 0, 0.7), (40, 0, 0, 0, 1, 0.8))
    scan = detection_agreement(reference, other)
    assert scan['center_error'].tolist() == pytest.approx([0.5])
    assert scan['heading_error'].tolist() == pytest.approx([2 * math.pi - 6.2])
    summary = summarize_agreement([scan, detection_agreement(reference, reference)])
    assert summary['num_pairs'] == 3
    assert summary['matched'] == pytest.approx(6 / 8)
    assert summary['center_error'] == pytest.approx(0.5 / 3)
    assert summary['heading_error'] == pytest.approx(math.degrees(2 * math.pi - 6.2) / 3)
    assert summary['score_error'] == pytest.approx(0.2 / 3)


def test_scans_without_detections():
    empty = detections()
    summary = summarize_agreement([detection_agreement(empty, empty)])
    assert math.isnan(summary['matched'])
    assert math.isnan(summary['center_error'])
    one = detections((0, 0, 0, 0, 0, 0.9))
    assert summarize_agreement([detection_agreement(one, empty)])['matched'] == 0
