"""The side file of sparse convolutions."""

import json

import pytest
import torch
from torch import nn

from mmptq.deploy.sparse_scales import write_sparse_scales
from mmptq.quantization import QScheme, quantize
from mmptq.quantization.layers import QUANT_LAYERS

spconv = pytest.importorskip('spconv.pytorch')


def test_scales_give_back_the_integers_of_the_weight(tmp_path):
    detector = nn.Module()
    detector.middle_encoder = spconv.SubMConv3d(4, 6, 3, indice_key='a')
    detector.backbone = nn.Conv2d(3, 3, 1)
    layer = detector.middle_encoder
    layer.__class__ = QUANT_LAYERS[type(layer)]
    layer.attach(QScheme(8, symmetric=True, signed=True, channel_axis=0), QScheme(8))
    layer.weight_quantizer.set_qparams(torch.rand(6) + 0.1, torch.zeros(6))
    layer.input_quantizer.set_qparams(torch.tensor([0.5]), torch.tensor([10]))
    path = tmp_path / 'a.sparse.json'
    assert write_sparse_scales(detector, nn.Sequential(detector.backbone), path)
    content = json.loads(path.read_text())
    assert 'Weights are (out, kernel..., in)' in content['how_to_build']
    (entry,) = content['layers']
    assert (entry['name'], entry['kind']) == ('middle_encoder', 'SubMConv3d')
    assert (entry['input_low'], entry['input_high']) == (-5.0, 122.5)
    scale = torch.tensor(entry['weight_scale']).view(-1, 1, 1, 1, 1)
    slot = layer.weight_quantizer
    expected = quantize(layer.weight, slot.scale, slot.zero_point, slot.scheme)
    assert torch.equal(torch.round(slot(layer.weight) / scale).int(), expected)


def test_no_file_without_sparse_layers(tmp_path):
    detector = nn.Sequential(nn.Conv2d(3, 3, 1))
    assert not write_sparse_scales(detector, detector, tmp_path / 'a.json')
    assert list(tmp_path.iterdir()) == []
