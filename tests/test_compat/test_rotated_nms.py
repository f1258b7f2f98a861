"""The NMS of rotated boxes that skips distant pairs keeps what mmcv's keeps."""

import pytest
import torch

from mmptq.compat.rotated_nms import kept_boxes

ops = pytest.importorskip('mmcv.ops')


def boxes_and_scores(seed: int, size: float, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 5, generator=generator)
    boxes[:, :2] *= size
    boxes[:, 2:4] = boxes[:, 2:4] * 4 + 0.1
    boxes[:, 4] = boxes[:, 4] * 7 - 3.5
    scores = torch.rand(count, generator=generator)
    return boxes, (scores * 20).round() / 20 if seed % 2 else scores  # with and without ties


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('threshold', [0.01, 0.2, 0.7])
def test_the_same_boxes_are_kept(seed, threshold):
    boxes, scores = boxes_and_scores(seed, 4 if seed > 1 else 40)
    expected = ops.nms_rotated(boxes, scores, threshold)[1]
    assert 0 < len(expected) < 60 or threshold == 0.7
    torch.testing.assert_close(kept_boxes(boxes, scores, threshold), expected, rtol=0, atol=0)


def test_equal_boxes_and_boxes_without_area():
    boxes, scores = boxes_and_scores(0, 100)
    boxes[10:20] = boxes[0]
    boxes[20:30, 2:4] = 0
    expected = ops.nms_rotated(boxes, scores, 0.2)[1]
    assert torch.equal(kept_boxes(boxes, scores, 0.2), expected)


def test_mmdet3d_calls_it():
    box3d_nms = pytest.importorskip('mmdet3d.models.layers.box3d_nms')
    assert box3d_nms.nms_rotated is not ops.nms_rotated
    for size in (4, 100):
        boxes, scores = boxes_and_scores(1, size)
        expected = ops.nms_rotated(boxes, scores, 0.2)
        found = box3d_nms.nms_rotated(boxes, scores, 0.2)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
