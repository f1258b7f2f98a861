"""Comparison of trainings with and without distillation, and pictures of attention."""

import json

import cv2
import pytest
import torch
from helpers import ROOT, run_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope


@pytest.fixture(scope='module')
def config(tiny_lanes, tmp_path_factory):
    """The demo config with a narrow network and one iteration on tiny data."""
    cfg = Config.fromfile(ROOT / 'configs/demo/enet_sad_demo-lane.py')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(tiny_lanes)
        cfg[f'{split}_dataloader'] = loader
    cfg.val_dataloader.dataset.indices = 2
    cfg.model.backbone.base_channels = cfg.model.lane_head.decoder.base_channels = 8
    cfg.model.lane_head.existence.in_channels = 64
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.custom_hooks[0].begin = 0
    path = tmp_path_factory.mktemp('sad') / 'tiny.py'
    cfg.dump(path)
    return path


def test_both_trainings_of_each_seed(config, tmp_path, capsys):
    work = tmp_path / 'work'
    arguments = (config, '--seeds', 3, '--work-dir', work)
    run_tool('benchmark_sad', *arguments)
    results = [
        json.loads((work / f'{name}_seed3/result.json').read_text())
        for name in ('with_SAD', 'without')
    ]
    assert all(0 <= result['culane/F1'] <= 1 and result['seed'] == 3 for result in results)
    logs = [
        next((work / f'{name}_seed3').glob('*/*.log')).read_text()
        for name in ('with_SAD', 'without')
    ]
    assert ['distillation begins' in log for log in logs] == [True, False]
    assert 'mean difference of culane/F1: ' in capsys.readouterr().out
    assert all('culane/F1_normal' in result for result in results)
    # Results that are there are not trained again.
    for name, high, low in (('with_SAD', 0.75, 0.5), ('without', 0.5, 0.375)):
        scores = {'culane/F1': high, 'culane/mF1': low, 'culane/F1_night': low}
        (work / f'{name}_seed3/result.json').write_text(json.dumps(scores))
    run_tool('benchmark_sad', *arguments)
    printed = capsys.readouterr().out
    assert 'mean difference of culane/F1: +0.2500' in printed
    assert 'mean difference of culane/mF1: +0.1250' in printed
    assert '| culane/F1_night | 0.5000   | 0.3750  | 0.1250     |' in printed


def test_gradients(config, tmp_path, capsys):
    init_default_scope('mmdet')
    checkpoint = tmp_path / 'float.pth'
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    run_tool('benchmark_sad', config, '--gradients', checkpoint, '--num-batches', 1)
    rows = [line.split('|')[1:-1] for line in capsys.readouterr().out.splitlines() if '|' in line]
    values = {row[0].strip(): [float(cell) for cell in row[1:]] for row in rows[2:]}
    assert list(values) == ['initial', 'stage1', 'reduce', 'deep_stages']
    assert all(value[0] > 0 for value in values.values()) and values['initial'][1] > 0
    with pytest.raises(SystemExit, match="checkpoint 'none.pth' does not exist"):
        run_tool('benchmark_sad', config, '--gradients', 'none.pth')


def test_a_config_without_distillation_is_refused(tmp_path):
    with pytest.raises(SystemExit, match='has no distillation'):
        run_tool('benchmark_sad', ROOT / 'configs/demo/scnn_r18_demo-lane.py')


def test_picture_of_attention(config, tmp_path):
    cfg = Config.fromfile(config)
    init_default_scope('mmdet')
    checkpoint, out = tmp_path / 'float.pth', tmp_path / 'new/attention.png'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), checkpoint)
    model = ('--model', 'name', config, checkpoint)
    run_tool('plot_attention', *model, *model, '--out', out)
    height, width = cv2.imread(str(out)).shape[:2]
    assert width > 1000 and height > 200
    with pytest.raises(SystemExit, match='images 0 to 8, not 99'):
        run_tool('plot_attention', *model, '--index', 99, '--out', out)
    with pytest.raises(SystemExit, match='features 0 to 3, not 7'):
        run_tool('plot_attention', *model, '--stages', 7, '--out', out)
    with pytest.raises(SystemExit, match="checkpoint 'none.pth' does not exist"):
        run_tool('plot_attention', '--model', 'name', config, 'none.pth')
