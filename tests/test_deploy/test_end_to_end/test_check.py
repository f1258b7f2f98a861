"""A file is refused whose boxes are not those of its detector."""

import pytest
import torch
from dense_heads import SIZES, head_of, raw_outputs

from mmptq.deploy.end_to_end import check_detections, decoding_of
from mmptq.quantization import QuantizationError
from mmptq.utils.trees import flatten, to_json


@torch.no_grad()
def test_boxes_beside_those_of_the_detector():
    detector = head_of('retinanet', max_per_img=30)
    raws = [raw_outputs(detector.bbox_head, SIZES[0], 1) for _ in range(2)]
    structure = to_json(flatten(raws[0])[1])
    decoding = decoding_of(detector, structure, pad=False)
    flat = [flatten(raw)[0] for raw in raws]
    found = [list(decoding(torch.zeros(1, 3, *SIZES[0]), *tensors)) for tensors in flat]
    sizes = [SIZES[0]] * 2
    shares = check_detections(decoding, structure, found, flat, flat[::-1], sizes)
    assert shares['count'] == 60
    assert shares['as_decoded_by_the_detector'] == 1.0
    assert shares['as_simulated'] < 0.5  # of the other image
    found[1][2] = found[1][2] + 1
    with pytest.raises(
        QuantizationError, match='% of 60 detections are those of RetinaHead, at least 99 %'
    ):
        check_detections(decoding, structure, found, flat, flat, sizes)


@torch.no_grad()
def test_samples_without_detections(caplog):
    detector = head_of('retinanet', score_thr=1.0)
    raw = raw_outputs(detector.bbox_head, SIZES[0], 1)
    structure, flat = to_json(flatten(raw)[1]), [flatten(raw)[0]]
    decoding = decoding_of(detector, structure, pad=False)
    found = [list(decoding(torch.zeros(1, 3, *SIZES[0]), *flat[0]))]
    assert check_detections(decoding, structure, found, flat, flat, SIZES[:1])['count'] == 0
