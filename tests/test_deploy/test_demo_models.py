"""The subgraphs of demo models and of tiny lane models in both engines."""

import onnx
import pytest
import torch
from deploy_models import profile_of, quantized_detector
from helpers import ROOT
from lane_models import HEADS, build_lane_model
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmptq.deploy import ExportedSubgraph, build_model, open_engine
from mmptq.deploy.parity import MIN_DECIBEL, measure_parity
from mmptq.quantization import QuantizationError

ENGINES = ('onnxruntime', 'openvino')
# Config and input of the subgraph; demo checkpoints hold trained weights.
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
    for result in measure_parity(engine, simulation, ExportedSubgraph(detector).eval(), [x]):
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
@pytest.mark.parametrize('family', HEADS)
def test_lane_model(family, backend, tmp_path):
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    detector = build_lane_model(family)
    if backend == 'openvino' and family in ('bezier', 'ganet'):
        with pytest.raises(QuantizationError, match="operator 'DeformConv' of .* not supported by"):
            check(detector, backend, x, tmp_path)
        return
    integer, floating = check(detector, backend, x, tmp_path)
    assert integer > 20
    # In three stages of CLRNet: attention products, and layers that give sampling coordinates.
    assert floating < (7 if family == 'clr' else 5)


def test_feature_rows_above_the_anchors_of_laneatt(tmp_path):
    # As at 360 rows with a stride of 32: OpenVINO rejects a slice before the gather.
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    integer, _ = check(build_lane_model('laneatt'), 'openvino', x, tmp_path)
    assert integer > 20


def fcos3d(deformable: str) -> torch.nn.Module:
    """FCOS3D with narrow layers; deformable convolutions nowhere, in its head, in its backbone."""
    from mmengine.hub import get_config

    cfg = Config(dict(model=get_config('mmdet3d::_base_/models/fcos3d.py').model)).model
    cfg.backbone.update(init_cfg=None, depth=18, base_channels=8, style='pytorch')
    channels = [8, 16, 32, 64]
    if deformable == 'backbone':  # as in the stock configs, which have them in both
        dcn = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
        cfg.backbone.update(depth=50, dcn=dcn, stage_with_dcn=(False, False, True, True))
        channels = [32, 64, 128, 256]
    cfg.neck.update(in_channels=channels, out_channels=32, num_outs=3)
    branches = dict(cls_branch=(32,), reg_branch=((32,), (32,), (32,), (32,), ()))
    branches.update(dir_branch=(32,), attr_branch=(32,), num_attrs=9)
    norm = dict(type='GN', num_groups=4)
    cfg.bbox_head.update(in_channels=32, feat_channels=32, norm_cfg=norm, **branches)
    cfg.bbox_head.update(dcn_on_last_conv=deformable != 'none', strides=[8, 16, 32])
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    for name, module in model.named_modules():
        if 'head' in name and isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    return model.eval()


QUICK = [('openvino', 'head'), ('openvino', 'none')]
REST = [(engine, part) for part in ('head', 'none', 'backbone') for engine in ENGINES]
REST = [pytest.param(*case, marks=pytest.mark.slow) for case in REST if case not in QUICK]


@pytest.mark.parametrize(('backend', 'deformable'), [*QUICK, *REST])
def test_fcos3d(backend, deformable, tmp_path):
    pytest.importorskip('mmdet3d')
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    detector = quantized_detector(backend, fcos3d(deformable), x)
    profile = profile_of(backend)
    if backend == 'openvino' and deformable != 'none':
        with pytest.raises(QuantizationError, match="'DeformConv' of '(bbox_head|backbone)/"):
            build_model(detector, profile, [x], dynamic=True)
        return
    onnx.save(build_model(detector, profile, [x], dynamic=True)[0], tmp_path / 'a.onnx')
    engine = open_engine(backend, tmp_path / 'a.onnx', 1)
    simulation = open_engine('simulation', tmp_path / 'a.onnx', 1)
    results = measure_parity(engine, simulation, ExportedSubgraph(detector).eval(), [x])
    assert len(results) == 15  # three levels of scores, boxes, directions, attributes, centres
    assert min(result.file_db for result in results) > MIN_DECIBEL
    assert min(result.model_db for result in results) > 10  # group norms of random weights
    assert engine.count_layers()[0] > 30
