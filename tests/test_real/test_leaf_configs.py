"""Leaf configs on real data: the stock metric of the quantized network against the float one.

The bounds are wider than what was measured, by what a few borderline boxes move on so few frames.
"""

import pytest
from helpers import ROOT, run_tool

from mmptq.report import read_record

CASES = [
    # config, metric, most that it may lose, least that the float network has
    ('pointpillars_mse_int8_kitti-mini', 'iou3d/mAP', 0.03, 0.6),
    ('pointpillars_mse_w4a8_kitti-mini', 'iou3d/mAP', 0.08, 0.6),
    ('centerpoint_pillar_mse_int8_kitti-mini', 'iou3d/mAP', 0.03, 0.5),
    ('centerpoint_pillar_mse_w4a8_kitti-mini', 'iou3d/mAP', 0.1, 0.5),
    ('retinanet_r18_fpn_mse_int8_bccd', 'coco/bbox_mAP', 0.01, 0.5),
]


@pytest.mark.parametrize(('name', 'metric', 'loss', 'least'), CASES, ids=lambda v: str(v))
def test_quantized_scores_like_float(name, metric, loss, least, real_data, monkeypatch, tmp_path):
    if 'kitti' in name:
        pytest.importorskip('mmdet3d')
    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    run_tool('ptq', ROOT / f'configs/mse/{name}.py', '--work-dir', tmp_path)
    result = read_record(tmp_path, 'result')
    before, after = result['float'][metric], result['quantized'][metric]
    print(f'{name}: {metric} {before:.4f} -> {after:.4f}')
    assert before > least
    assert after > before - loss
