"""The exported part of a detector."""

import pytest
import torch
from deploy_models import TinyDetector, sample_inputs
from torch import nn

from mmptq.deploy.section import (
    Section,
    find_family,
    output_names,
    replace_section,
    section_inputs,
)
from mmptq.quantization import QuantizationError


def test_names_of_outputs():
    structure = {'tuple': [{'list': [0, None]}, {'dict': {'reg': 1}}, {'tuple': [2]}]}
    assert output_names(structure) == ['output_0_0', 'output_1_reg', 'output_2_0']


def test_section_computes_what_the_parts_do():
    detector = TinyDetector().eval()
    (x,) = sample_inputs(1)
    section = Section(detector)
    scores, offsets = section(x)
    expected = detector.bbox_head(detector.neck(detector.backbone(x)))
    assert torch.equal(scores, expected[0][0])
    assert torch.equal(offsets, expected[1]['offsets'])


def test_inputs_are_collected():
    detector = TinyDetector().eval()
    with section_inputs(detector) as inputs:
        for x in sample_inputs():
            detector(x)
    assert [torch.equal(a, b) for a, b in zip(inputs, sample_inputs(), strict=True)] == [True] * 2
    detector(x)
    assert len(inputs) == 2


def test_replaced_section_is_decoded_as_before():
    detector = TinyDetector().eval()
    (x,) = sample_inputs(1)
    section = Section(detector)
    with torch.no_grad():
        expected = detector(x)
        outputs = [output.clone() for output in section(x)]
        replace_section(detector, lambda _: outputs, section.structure)
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
