"""The exported part of a detector."""

import pytest
import torch
from deploy_models import TinyDetector, sample_inputs
from torch import nn

from mmptq.deploy.section import (
    Section,
    find_family,
    flatten,
    output_names,
    replace_section,
    section_inputs,
    unflatten,
)
from mmptq.quantization import QuantizationError


def test_flatten_and_back():
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    nested = ([a, None], dict(reg=b), (c,))
    tensors = []
    structure = flatten(nested, tensors)
    assert [t is u for t, u in zip(tensors, (a, b, c), strict=True)] == [True] * 3
    back = unflatten(structure, tensors)
    assert isinstance(back, tuple)
    assert back[0] == [a, None]
    assert back[1]['reg'] is b
    assert isinstance(back[2], tuple)
    assert output_names(structure) == ['output_0_0', 'output_1_reg', 'output_2_0']


def test_heads_must_return_tensors():
    with pytest.raises(QuantizationError, match='returns a str'):
        flatten(['text'], [])


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
