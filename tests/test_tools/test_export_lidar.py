"""A voxel detector from tools/ptq.py to boxes without a network in PyTorch."""

import json
import shutil

import pytest
from helpers import ROOT, run_tool
from mmengine.config import Config

from mmptq.deploy.sparse_engine import is_built

pytest.importorskip('mmdet3d')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_built(), reason='the sparse engine is not compiled'),
]


@pytest.fixture(scope='module')
def exported(tiny_nuscenes, tmp_path_factory):
    """Config, quantized checkpoint and file of the demo voxel model on tiny data."""
    folder = tmp_path_factory.mktemp('voxel')
    cfg = Config.fromfile(ROOT / 'configs/mse/centerpoint_voxel_mse_int8_demo-nus.py')
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.dataset.data_root = str(tiny_nuscenes)
        loader.update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.data_root = str(tiny_nuscenes)
        evaluator.ann_file = str(tiny_nuscenes / 'nuscenes_infos_val.pkl')
    cfg.load_from = str(ROOT / 'configs/demo/checkpoints/centerpoint_voxel_demo-nus.pth')
    cfg.work_dir, cfg.calibration = str(folder / 'work'), dict(num_samples=2)
    cfg.train_cfg.val_float = False
    config, out = folder / 'voxel.py', folder / 'voxel.onnx'
    cfg.dump(config)
    run_tool('ptq', config, '--backend', 'openvino')
    checkpoint = folder / 'work/quantized.pth'
    run_tool('export', config, checkpoint, '--backend', 'openvino', '--out', out)
    return config, checkpoint, out


def metric(config, file, folder, *options) -> float:
    run_tool('test', config, file, '--out', folder / 'a.json', *options)
    values = json.loads((folder / 'a.json').read_text())
    return values['NuScenes metric/pred_instances_3d_NuScenes/mAP']


def test_deployed_as_simulated(exported, tmp_path, capsys):
    config, checkpoint, file = exported
    rows = json.loads(file.with_suffix('.sparse.parity.json').read_text())
    assert len(rows) == 17
    assert max(row['largest'] for row in rows) <= 1
    simulated = metric(config, checkpoint, tmp_path)
    hidden = checkpoint.with_suffix('.hidden')
    checkpoint.rename(hidden)  # nothing of it is needed
    try:
        found = metric(config, file, tmp_path, '--threads', '2')
    finally:
        hidden.rename(checkpoint)
    assert 'sparse engine: 16 layers run in integers, 0 in float' in capsys.readouterr().out
    assert found == pytest.approx(simulated, abs=0.02)
    assert metric(config, file, tmp_path, '--sparse-in-pytorch') == pytest.approx(found, abs=0.02)


def test_files_that_lost_each_other(exported, tmp_path):
    config, _, file = exported
    shutil.copy(file, tmp_path / 'b.onnx')
    with pytest.raises(SystemExit) as stop:
        run_tool('test', config, tmp_path / 'b.onnx')
    assert str(stop.value.code).startswith("error: file '")
    assert 'b.sparse.npz' in str(stop.value.code)
    assert 'keep the files of an export together' in str(stop.value.code)
