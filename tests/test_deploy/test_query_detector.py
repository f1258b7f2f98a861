"""Detectors with a transformer, from image to logits and boxes in an engine."""

import numpy as np
import pytest
import torch
from deploy_models import profile_of
from mmdet.testing import demo_mm_inputs
from stock_models import build_stock, query_config
from torch import Tensor, nn

import mmptq
from mmptq.deploy import (
    ExportedSubgraph,
    FileForm,
    export_float,
    export_quantized,
    open_engine_file,
    replace_with_engine,
    subgraph_inputs,
)
from mmptq.deploy.engine_detector import run_batches
from mmptq.deploy.query_detector import batch_axis
from mmptq.quantization import QuantizationError

SIZE = (64, 96)
FAMILIES = [
    'detr',
    'deformable_detr',
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ('conditional_detr', 'dab_detr', 'deformable_two_stage', 'dino')
    ),
]


def image(flip: bool = False) -> dict:
    batch = demo_mm_inputs(1, [[3, *SIZE]])
    if flip:
        batch['inputs'][0] = batch['inputs'][0].flip(2)
    return batch


def inputs_of(detector: nn.Module) -> list[Tensor]:
    """Two inputs of the network; their collection checks the exported part."""
    with torch.no_grad(), subgraph_inputs(detector) as inputs:
        for flip in (False, True):
            detector.test_step(image(flip))
    return inputs


@torch.no_grad()
def same_boxes(first: nn.Module, second: nn.Module, atol: float) -> None:
    found, expected = (model.test_step(image())[0].pred_instances for model in (first, second))
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=atol)
    # The order of equal scores is open, and so is which of them are the last detections.
    distances = torch.cdist(found.bboxes, expected.bboxes, p=torch.inf).amin(1)
    assert (distances < 100 * atol).sum() > len(distances) - 3


@pytest.mark.parametrize('family', FAMILIES)
def test_float_networks(tmp_path, family):
    cfg = query_config(family)
    detector, path = build_stock(cfg), tmp_path / 'a.onnx'
    rows = export_float(detector, inputs_of(detector), path)
    assert min(row['engine against model (dB)'] for row in rows) > 80
    for name in ('onnxruntime', 'openvino'):
        engine = open_engine_file(path, name, threads=1)
        assert engine.input_shape == (1, 3, *SIZE)  # fixed without being asked for
        assert engine.output_names == ['output_0', 'output_1']
        deployed = build_stock(cfg)
        replace_with_engine(deployed, engine)
        assert not list(deployed.encoder.parameters())
        same_boxes(deployed, detector, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('family', ['detr', 'deformable_detr'])
def test_integer_networks(tmp_path, family, backend):
    cfg = query_config(family)
    detector, path = build_stock(cfg), tmp_path / 'a.onnx'
    mmptq.quantize(detector, [image(), image(True)], 'int8', 'minmax', backend=backend)
    inputs = inputs_of(detector)
    rows = export_quantized(detector, profile_of(backend), inputs, path, {}, FileForm(batch=2))
    assert min(row['engine against model (dB)'] for row in rows) > 20
    engine = open_engine_file(path)
    assert engine.input_shape[0] == 2
    integer, floating = engine.count_layers()
    assert integer > 2 * floating
    deployed = build_stock(cfg)
    replace_with_engine(deployed, engine)
    same_boxes(deployed, detector, 0.01)


class TwoLayers:
    """An engine that takes two images and gives (decoder layers, B), as heads with queries do."""

    input_shape = (2, 1, 1, 1)

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        return [np.stack([x[:, 0, 0, 0], -x[:, 0, 0, 0]])]


@pytest.mark.parametrize('count', [1, 2, 5])
def test_groups_of_images_are_along_the_second_axis(count):
    assert batch_axis(build_stock(query_config('detr'))) == 1
    images = np.arange(1.0, count + 1).reshape(count, 1, 1, 1)
    (output,) = run_batches(TwoLayers(), images, 1)
    assert output.tolist() == [list(range(1, count + 1)), list(range(-1, -count - 1, -1))]


def test_names_of_layers_are_those_of_the_detector():
    detector = build_stock(query_config('deformable_detr'))
    names = dict(ExportedSubgraph(detector).named_parameters())
    assert names.keys() == dict(detector.named_parameters()).keys()
    assert names['level_embed'] is detector.level_embed


def test_padded_images_are_refused():
    detector = build_stock(query_config('detr'))
    detector.data_preprocessor.pad_size_divisor = 64
    with pytest.raises(QuantizationError, match='it masks padded pixels, and a file has one input'):
        inputs_of(detector)


def test_boxes_in_the_file_are_refused(tmp_path):
    detector = build_stock(query_config('detr'))
    with pytest.raises(QuantizationError, match='the decoding of DETRHead is not written'):
        export_float(detector, inputs_of(detector), tmp_path / 'a.onnx', FileForm(end_to_end=True))
    assert not list(tmp_path.iterdir())
