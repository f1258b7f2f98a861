"""Functions that torch's exporter writes wrongly."""

import onnx
import pytest
import torch
from deploy_models import TinyDetector, sample_inputs
from stock_models import build_stock, image_batch, stock_config
from torch import Tensor, nn

from mmptq.deploy import ExportedSubgraph, FileForm, export_float, open_engine, open_engine_file
from mmptq.deploy.onnx_export import export_marked
from mmptq.deploy.traced_calls import exportable_calls


def test_a_linspace_of_one_value(tmp_path):
    class Points(nn.Module):
        """Points of a map that is one pixel high, as deformable attention makes them."""

        def forward(self, x: Tensor) -> Tensor:
            height = x.shape[2] // 16
            return x[:, :, :height] + torch.linspace(0.5, height - 0.5, height)

    detector = TinyDetector().eval()
    detector.bbox_head = Points()
    subgraph, (x,) = ExportedSubgraph(detector).eval(), sample_inputs(1, (64, 64))
    onnx.save(export_marked(subgraph, x, dynamic=False), tmp_path / 'a.onnx')
    (value,) = open_engine('onnxruntime', tmp_path / 'a.onnx').run(x.numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(value), subgraph(x)[0], rtol=1e-4, atol=1e-4)


def test_functions_are_as_before_afterwards():
    from mmdet.models.dense_heads import tood_head

    before = torch.linspace, tood_head.deform_conv2d, tood_head.sigmoid_geometric_mean
    head = nn.Module()
    head.__class__ = tood_head.TOODHead
    with exportable_calls(head):
        x, y = torch.randn(2, 3), torch.randn(2, 3)
        torch.testing.assert_close(tood_head.sigmoid_geometric_mean(x, y), before[2](x, y))
        assert tood_head.deform_conv2d is not before[1]
    after = torch.linspace, tood_head.deform_conv2d, tood_head.sigmoid_geometric_mean
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize('family', ['tood', 'vfnet', 'ssd', 'yolof'])
def test_boxes_of_heads_with_calls_of_their_own(tmp_path, family):
    detector = build_stock(stock_config(family), 0.8)
    x = image_batch(detector, 1, 128)['inputs']
    form = FileForm(dynamic=False, end_to_end=True)
    export_float(detector, [x, x.flip(3)], tmp_path / 'a.onnx', form)
    check = open_engine_file(tmp_path / 'a.onnx').metadata['detections']['check']
    assert check['count'] > 20
    assert check['as_simulated'] > 0.99
