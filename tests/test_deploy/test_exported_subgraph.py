"""The exported part of a detector."""

import pytest
import torch
from deploy_models import TinyDetector, sample_inputs
from torch import nn

from mmptq.deploy.exported_subgraph import (
    ExportedSubgraph,
    find_family,
    output_names,
    replace_subgraph,
    subgraph_inputs,
)
from mmptq.quantization import QuantizationError


def test_names_of_outputs():
    structure = {'tuple': [{'list': [0, None]}, {'dict': {'reg': 1}}, {'tuple': [2]}]}
    assert output_names(structure) == ['output_0_0', 'output_1_reg', 'output_2_0']


def test_subgraph_computes_what_the_parts_do():
    detector = TinyDetector().eval()
    (x,) = sample_inputs(1)
    subgraph = ExportedSubgraph(detector)
    scores, offsets = subgraph(x)
    expected = detector.bbox_head(detector.neck(detector.backbone(x)))
    assert torch.equal(scores, expected[0][0])
    assert torch.equal(offsets, expected[1]['offsets'])


def test_inputs_are_collected():
    detector = TinyDetector().eval()
    with subgraph_inputs(detector) as inputs:
        for x in sample_inputs():
            detector(x)
    assert [torch.equal(a, b) for a, b in zip(inputs, sample_inputs(), strict=True)] == [True] * 2
    detector(x)
    assert len(inputs) == 2


def test_replaced_subgraph_is_decoded_as_before():
    detector = TinyDetector().eval()
    (x,) = sample_inputs(1)
    subgraph = ExportedSubgraph(detector)
    with torch.no_grad():
        expected = detector(x)
        outputs = [output.clone() for output in subgraph(x)]
        replace_subgraph(detector, lambda _: outputs, subgraph.structure)
        assert torch.equal(detector(x), expected)


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (('backbone', 'rpn_head', 'roi_head'), "has a 'roi_head'"),
        (('encoder', 'bbox_head'), 'no backbone and dense head'),
    ],
)
def test_other_families_are_refused(parts, message):
    detector = nn.Module()
    for part in parts:
        setattr(detector, part, nn.Identity())
    with pytest.raises(QuantizationError, match=message):
        find_family(detector)
