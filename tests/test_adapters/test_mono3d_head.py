"""Adapters of the 3D heads of mmdet3d on one image."""

import copy

import pytest
import torch

pytest.importorskip('mmdet3d')

from adapter_checks import check_backbone_gradients, check_decode, check_parts  # noqa: E402
from mmdet3d.registry import MODELS  # noqa: E402
from mmdet3d.structures import CameraInstance3DBoxes, Det3DDataSample  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hub import get_config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from mmptq.adapters import build_adapter  # noqa: E402
from mmptq.adapters.mono3d_head import project  # noqa: E402

CAM2IMG = [[60.0, 0, 48, 0], [0, 60, 32, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def build(family: str) -> tuple:
    cfg = get_config(
        f'mmdet3d::{family}.py' if '/' in family else f'mmdet3d::_base_/models/{family}.py'
    )
    cfg = Config(dict(model=cfg.model)).model
    cfg.backbone.init_cfg = None
    meta = dict(cam2img=CAM2IMG, box_type_3d=CameraInstance3DBoxes, scale_factor=(1.0, 1.0))
    if 'smoke' not in family:
        plain = dict(dcn=None, stage_with_dcn=(False,) * 4)
        cfg.backbone.update(depth=18, base_channels=8, style='pytorch', **plain)
        cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
        head = cfg.bbox_head
        regs = tuple((32,) if branch else () for branch in head.reg_branch)
        head.update(in_channels=32, feat_channels=32, dcn_on_last_conv=False)
        head.update(cls_branch=(32,), dir_branch=(32,), attr_branch=(32,), reg_branch=regs)
        head.num_attrs = 9
        if 'depth_branch' in head:
            head.depth_branch = (32,)
    else:
        cell = 4.0  # from image pixels to cells of the feature map
        meta['trans_mat'] = [[1 / cell, 0, 0], [0, 1 / cell, 0], [0, 0, 1]]
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for name, module in model.named_modules():
        if 'head' in name and isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.5 / module.weight[0].numel() ** 0.5)
    samples = [Det3DDataSample(metainfo=dict(meta, img_shape=(64, 96))) for _ in range(2)]
    images = [torch.rand(3, 64, 96) * 255 for _ in samples]
    batch = dict(inputs=dict(img=images), data_samples=samples)
    return model, model.data_preprocessor(batch, False)


PGD = 'pgd/pgd_r101-caffe_fpn_head-gn_16xb2-1x_nus-mono3d'
KITTI = 'pgd/pgd_r101-caffe_fpn_head-gn_4xb3-4x_kitti-mono3d'  # with keypoints
FAMILIES = ['fcos3d', 'smoke', PGD, pytest.param(KITTI, marks=pytest.mark.slow)]


@pytest.fixture(scope='module', params=FAMILIES)
def case(request):
    model, data = build(request.param)
    adapter = build_adapter(model)
    with torch.no_grad():
        return model, data, adapter, adapter.raw_outputs(data)


def tensors(raw) -> list[torch.Tensor]:
    return [x for levels in raw for x in levels if x is not None]


def test_detections_are_positions_of_the_outputs(case):
    _, data, adapter, raw = case
    (output,) = adapter.outputs(raw)
    positions = output.scores.shape[:2]
    assert positions[1] == sum(x.shape[-2] * x.shape[-1] for x in raw[0])
    assert output.boxes is None
    assert all(reg.shape[:2] == positions for reg in output.regs.values())
    probabilities = output.probabilities()
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=10)
    for label, probability in zip(labels, probabilities, strict=True):
        found = label.gt_instances_3d
        assert 0 < len(found) <= 10
        for score, kind in zip(found.scores_3d, found.labels_3d, strict=True):
            assert ((probability[:, kind] - score).abs() < 1e-4).any()


def test_threshold_and_number(case):
    _, data, adapter, raw = case
    scores = adapter.pseudo_labels(raw, data, 0.0, 10)[0].gt_instances_3d.scores_3d
    assert (scores.diff() <= 0).all()
    threshold = float(scores[len(scores) // 2])
    few = adapter.pseudo_labels(raw, data, threshold, 10)[0].gt_instances_3d.scores_3d
    assert torch.equal(few, scores[scores > threshold])


def test_loss_is_the_loss_of_training(case):
    model, data, adapter, raw = case
    labels = adapter.pseudo_labels(raw, data, score_thr=0.0, top_k=5)
    angles = labels[0].gt_instances_3d.bboxes_3d.tensor.clone()
    before = [x.clone() for x in tensors(raw)]
    losses = adapter.loss(raw, data, labels)
    assert all(torch.equal(x, y) for x, y in zip(tensors(raw), before, strict=True))
    assert torch.equal(labels[0].gt_instances_3d.bboxes_3d.tensor, angles)
    again = adapter.loss(raw, data, labels)
    head = model.bbox_head
    head.training = True  # the head alone: its normalisation stays as it is
    with torch.no_grad():
        features = model.extract_feat(data['inputs'])
        expected = head.loss(features, copy.deepcopy(labels))
    head.training = False
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(loss, again[name])


def test_loss_without_objects(case):
    _, data, adapter, raw = case
    labels = adapter.pseudo_labels(raw, data, score_thr=2.0, top_k=5)
    losses = adapter.loss(raw, data, labels)
    assert all(loss.isfinite() for loss in losses.values())
    assert losses['loss_cls'] > 0


def test_gradients_reach_the_backbone(case):
    model, data, adapter, _ = case
    check_backbone_gradients(model, adapter, data)


def test_projection_by_hand():
    # A 2 m cube whose centre is 1 m to the right and 10 m ahead; origin is the bottom centre.
    boxes = CameraInstance3DBoxes(torch.tensor([[1.0, 1.0, 10, 2, 2, 2, 0]]))
    meta = dict(cam2img=CAM2IMG, pad_shape=(64, 96))
    center, depth, box = project(boxes, meta, stride=4.0)
    torch.testing.assert_close(center, torch.tensor([[48 + 60 * 0.1, 32.0]]))
    torch.testing.assert_close(depth, torch.tensor([10.0]))
    near = 60 / 9
    torch.testing.assert_close(box, torch.tensor([[48.0, 32 - near, 48 + 2 * near, 32 + near]]))
    half = dict(meta, trans_mat=[[0.125, 0, 0], [0, 0.125, 0], [0, 0, 1]])  # half size, stride 4
    torch.testing.assert_close(project(boxes, half, stride=4.0)[0], center / 2)


def test_parts(case):
    _, _, adapter, raw = case
    check_parts(adapter, raw)
    names = {
        2: ['cls', 'bbox'],
        5: ['cls', 'bbox', 'direction', 'attribute', 'quality'],
        7: ['cls', 'bbox', 'direction', 'depth', 'weight', 'attribute', 'quality'],
    }[len(raw)]
    given = [name for name, levels in zip(names, raw, strict=True) if levels[0] is not None]
    assert list(adapter.head_groups(raw)) == given


def test_decode_is_prediction(case):
    model, data, adapter, raw = case
    check_decode(model, adapter, raw, data, head='bbox')
