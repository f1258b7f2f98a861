"""The sections of demo models and of tiny lane models in both engines."""

import onnx
import pytest
import torch
from deploy_models import profile_of, quantized_detector
from helpers import ROOT
from lane_models import build_lane_model
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmptq.deploy import Section, build_model, open_engine
from mmptq.deploy.parity import MIN_DECIBEL, measure_parity
from mmptq.quantization import QuantizationError

ENGINES = ('onnxruntime', 'openvino')
# Config and input of the section; demo checkpoints hold trained weights.
DEMO = {
    'retinanet_r18_fpn_demo-coco': (3, 64, 96),
    'centerpoint_pillar_demo-nus': (32, 32, 32),
    'centerpoint_voxel_demo-nus': (64, 16, 16),
}


def demo_model(name: str) -> torch.nn.Module:
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    checkpoint = torch.load(
        ROOT / f'configs/demo/checkpoints/{name}.pth', map_location='cpu', weights_only=True
    )
    model.load_state_dict(checkpoint['state_dict'])
    return model.float().eval()


def check(detector: torch.nn.Module, backend: str, x: torch.Tensor, tmp_path) -> tuple[int, int]:
    """Export, compare, and count the layers that run in integers and in float."""
    quantized_detector(backend, detector, x)
    model, _ = build_model(detector, profile_of(backend), [x], dynamic=False)
    onnx.save(model, tmp_path / 'a.onnx')
    engine = open_engine(backend, tmp_path / 'a.onnx', 1)
    simulation = open_engine('simulation', tmp_path / 'a.onnx', 1)
    for result in measure_parity(engine, simulation, Section(detector).eval(), [x]):
        assert result.file_db > MIN_DECIBEL, result
        assert result.model_db > MIN_DECIBEL, result
    return engine.count_layers()


@pytest.mark.parametrize('backend', ENGINES)
@pytest.mark.parametrize('name', DEMO)
def test_demo_model(name, backend, tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *DEMO[name], generator=generator).relu()
    integer, floating = check(demo_model(name), backend, x, tmp_path)
    if backend == 'openvino':
        assert floating == 0
    else:
        assert integer > floating
    assert integer > 25


@pytest.mark.parametrize('backend', ENGINES)
@pytest.mark.parametrize('family', ['lstr', 'laneatt', 'segmentation', 'bezier', 'ganet'])
def test_lane_model(family, backend, tmp_path):
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    detector = build_lane_model(family)
    if backend == 'openvino' and family in ('bezier', 'ganet'):
        with pytest.raises(QuantizationError, match="operator 'DeformConv' of .* none that this"):
            check(detector, backend, x, tmp_path)
        return
    integer, floating = check(detector, backend, x, tmp_path)
    assert integer > 20
    assert floating < 5


def test_feature_rows_above_the_anchors_of_laneatt(tmp_path):
    # As at 360 rows with a stride of 32: OpenVINO rejects a slice before the gather.
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    integer, _ = check(build_lane_model('laneatt'), 'openvino', x, tmp_path)
    assert integer > 20
