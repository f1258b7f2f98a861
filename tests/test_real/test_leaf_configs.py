"""Models on real data: the stock metric of the quantized network against the float one.

The bounds are wider than what was measured, by what a few borderline boxes move on so few frames.
"""

import pytest
from helpers import ROOT, run_tool

from mmptq.report import read_record

CASES = [
    # config, scheme, metric, most that it may lose, least that the float network has
    ('kitti/pointpillars_kitti-mini', 'int8', 'iou3d/mAP', 0.03, 0.6),
    ('kitti/pointpillars_kitti-mini', 'w4a8', 'iou3d/mAP', 0.08, 0.6),
    ('kitti/centerpoint_pillar_kitti-mini', 'int8', 'iou3d/mAP', 0.03, 0.5),
    ('kitti/centerpoint_pillar_kitti-mini', 'w4a8', 'iou3d/mAP', 0.1, 0.5),
    ('bccd/retinanet_r18_fpn_bccd', 'int8', 'coco/bbox_mAP', 0.01, 0.5),
]


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'scheme', 'metric', 'loss', 'least'), CASES, ids=str)
def test_quantized_scores_like_float(
    name, scheme, metric, loss, least, real_data, monkeypatch, tmp_path
):
    if 'kitti' in name:
        pytest.importorskip('mmdet3d')
    monkeypatch.setenv('MMPTQ_DATA', str(real_data))
    config = ROOT / f'configs/{name}.py'
    checkpoint = config.parent / f'checkpoints/{config.stem}.pth'
    given = [checkpoint] if checkpoint.is_file() else []  # PointPillars names its own in the config
    run_tool(
        *('ptq', config, *given, '--scheme', scheme, '--recipe', 'mse', '--work-dir', tmp_path)
    )
    result = read_record(tmp_path, 'result')
    before, after = result['float'][metric], result['quantized'][metric]
    print(f'{name}, {scheme}: {metric} {before:.4f} -> {after:.4f}')
    assert before > least
    assert after > before - loss
