"""The decoding of each head against the head's own, in torch and in ONNX Runtime."""

import pytest
import torch
from dense_heads import SIZES, head_of, raw_outputs
from torch import nn

from mmptq.deploy.end_to_end import check
from mmptq.deploy.end_to_end.attach import IMAGE, _export
from mmptq.deploy.end_to_end.decoding import decoding_of, require_decoding
from mmptq.deploy.end_to_end.detections import Share, from_file
from mmptq.deploy.onnx_export import open_axes
from mmptq.quantization import QuantizationError
from mmptq.utils.trees import flatten, to_json

FAMILIES = [
    'retinanet',
    'gfl',
    'yolox',
    *(pytest.param(name, marks=pytest.mark.slow) for name in ('atss', 'fcos', 'rtmdet')),
]


def share_of(found: tuple, expected: list) -> Share:
    share = Share()
    for parts, own in zip(zip(*found, strict=True), expected, strict=True):
        share.update(from_file(*parts), own)
    return share


@pytest.mark.parametrize('family', FAMILIES)
@torch.no_grad()
def test_heads_decode_alike(family):
    import onnxruntime

    detector = head_of(family, nms_pre=60, max_per_img=40)
    head = detector.bbox_head
    raw = raw_outputs(head, SIZES[0])
    structure = to_json(flatten(raw)[1])
    decoding = decoding_of(detector, structure, pad=True)
    image, tensors = torch.zeros(2, 3, *SIZES[0]), flatten(raw)[0]
    names = [IMAGE, *(f'map{i}' for i in range(len(tensors)))]
    model = _export(decoding, (image, *tensors), names, open_axes(True, True), 13)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for size, images in zip(SIZES, (2, 1), strict=True):
        image, raw = torch.zeros(images, 3, *size), raw_outputs(head, size, images)
        expected = [own[:40] for own in check.own_detections(decoding, raw, size)]
        assert all(len(own) >= 5 for own in expected)
        values = decoding(image, *flatten(raw)[0])
        inputs = dict(zip(names, (image, *flatten(raw)[0]), strict=True))
        needed = {entry.name for entry in session.get_inputs()}
        feed = {name: x.numpy() for name, x in inputs.items() if name in needed}
        onnx_values = [torch.from_numpy(x) for x in session.run(None, feed)]
        for found in (values, onnx_values):
            share = share_of(found, expected)
            assert share.value == 1.0
            assert share.all == sum(map(len, expected))


@torch.no_grad()
def test_few_detections_are_padded():
    detector = head_of('retinanet', score_thr=0.9, max_per_img=50)
    raw = raw_outputs(detector.bbox_head, SIZES[0], 1)
    decoding = decoding_of(detector, to_json(flatten(raw)[1]), pad=False)
    for level in raw[0]:
        level.fill_(-9.0)
    raw[0][2][0, 7, 1, 2] = 5.0
    raw[1][2].zero_()  # the anchor itself
    boxes, scores, labels = decoding(torch.zeros(1, 3, *SIZES[0]), *flatten(raw)[0])
    assert boxes.shape == (1, 50, 4)
    assert labels[0].tolist() == [7 % 5] + [-1] * 49
    assert scores[0, 0] == torch.tensor(5.0).sigmoid()
    assert not scores[0, 1:].any()
    assert not boxes[0, 1:].any()


@torch.no_grad()
def test_small_boxes_are_left_out():
    detector = head_of('retinanet', min_bbox_size=20)
    raw = raw_outputs(detector.bbox_head, SIZES[0], 1)
    decoding = decoding_of(detector, to_json(flatten(raw)[1]), pad=False)
    found = decoding(torch.zeros(1, 3, *SIZES[0]), *flatten(raw)[0])
    expected = check.own_detections(decoding, raw, SIZES[0])
    assert share_of(found, expected).value == 1.0
    result = from_file(*(part[0] for part in found))
    assert (result.bboxes[:, 2:] - result.bboxes[:, :2]).min() > 20


def test_a_head_with_its_own_decoding_is_refused_by_name():
    class OwnHead(nn.Module):
        def predict_by_feat(self):
            """Something else."""

    detector = nn.Module()
    detector.backbone, detector.bbox_head = nn.Identity(), OwnHead()
    with pytest.raises(QuantizationError, match='--end-to-end: the decoding of OwnHead is not'):
        require_decoding(detector)


def test_a_subclass_that_decodes_otherwise_is_refused():
    detector = head_of('retinanet')

    class OtherHead(type(detector.bbox_head)):
        def _predict_by_feat_single(self, *args, **kwargs):
            return None

    detector.bbox_head.__class__ = OtherHead
    with pytest.raises(QuantizationError, match='the decoding of OtherHead is not'):
        require_decoding(detector)


@pytest.mark.parametrize(
    ('nms', 'message'),
    [
        (dict(type='soft_nms', iou_threshold=0.5), "no operator for test_cfg.nms of type 'soft_"),
        (dict(type='nms', iou_threshold=0.5, score_threshold=0.3), 'nms.score_threshold cannot'),
    ],
)
def test_a_suppression_that_onnx_has_not(nms, message):
    with pytest.raises(QuantizationError, match=message):
        require_decoding(head_of('retinanet', nms=nms))
