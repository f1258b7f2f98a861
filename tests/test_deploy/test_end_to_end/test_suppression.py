"""Suppression by hand."""

import pytest
import torch

from mmptq.deploy.end_to_end.suppression import Suppression, best_of

BOXES = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30]]]).float()
SCORES = torch.tensor([[0.5, 0.9, 0.8, -1.0]])
LABELS = torch.tensor([[0, 0, 1, 0]])


@pytest.mark.parametrize(
    ('suppression', 'expected'),
    [
        # Box 1 suppresses box 0 (IoU 0.9); box 2 has another class, and box 3 is no detection.
        (Suppression(0.8, 4), [(0.9, 0), (0.8, 1), (0, -1), (0, -1)]),
        (Suppression(0.95, 4), [(0.9, 0), (0.8, 1), (0.5, 0), (0, -1)]),
        (Suppression(0.8, 4, agnostic=True), [(0.9, 0), (0, -1), (0, -1), (0, -1)]),
        (Suppression(None, 2), [(0.9, 0), (0.8, 1)]),
        (Suppression(0.8, 1), [(0.9, 0)]),
    ],
)
@pytest.mark.parametrize('pad', [False, True])
def test_best_boxes(suppression, expected, pad):
    boxes, scores, labels = suppression.apply(BOXES, SCORES, LABELS, pad)
    assert boxes.shape == (1, len(expected), 4)
    torch.testing.assert_close(scores[0], torch.tensor([float(score) for score, _ in expected]))
    assert labels[0].tolist() == [label for _, label in expected]
    assert boxes[0, 0].tolist() == [0, 0, 10, 9]


def test_more_than_there_are():
    scores, index = best_of(torch.tensor([[0.2, 0.6]]), 3, pad=True)
    torch.testing.assert_close(scores, torch.tensor([[0.6, 0.2, -1.0]]))
    assert index.tolist() == [[1, 0, 0]]
    assert best_of(torch.tensor([[0.2, 0.6]]), 3, pad=False)[1].tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ('cfg', 'expected'),
    [
        (dict(nms=dict(type='nms', iou_threshold=0.6), max_per_img=100), Suppression(0.6, 100)),
        (dict(nms=dict(iou_threshold=0.65)), Suppression(0.65, 300)),
        (dict(nms=dict(iou_threshold=0.5, max_num=20), max_per_img=30), Suppression(0.5, 20)),
        (dict(nms=None, max_per_img=7), Suppression(None, 7)),
        (
            dict(nms=dict(iou_threshold=0.5, class_agnostic=True, split_thr=99)),
            Suppression(0.5, 300, True),
        ),
    ],
)
def test_settings_of_a_head(cfg, expected):
    assert Suppression.from_config(cfg) == expected
