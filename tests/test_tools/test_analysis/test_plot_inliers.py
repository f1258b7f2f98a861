"""The picture of InlierQ's inliers, of an image and of a scan."""

from functools import partial

import cv2
import pytest
from helpers import ROOT, error_of, load_tool, run_tool

pytest.importorskip('matplotlib')

LAYER = 'backbone.layer3.0.downsample.0'  # residual branches of new weights are zero
# The tiny network has random weights.
EVERY_SAMPLE = ('--importance', 'loss.score_thr=0', 'loss.eps=1e-9')
message_of = partial(error_of, 'plot_inliers')


def test_an_image_by_number_and_by_file(tiny, tiny_data, tmp_path, capsys):
    config, checkpoint = tiny
    image = sorted((tiny_data / 'val').glob('*'))[0]
    for index, sample in enumerate((0, image)):
        out = tmp_path / f'{index}.png'
        options = ('--layer', LAYER, '--score-thr', '0', '--out', out, *EVERY_SAMPLE)
        run_tool('plot_inliers', config, checkpoint, sample, *options)
        assert cv2.imread(str(out)).shape == (412, 1425, 3)
        text = capsys.readouterr().out
        assert f'input of {LAYER}' in text and 'InlierQ 0.00 to' in text


def test_what_cannot_be_drawn(tiny, tmp_path):
    config, checkpoint = tiny
    assert "'nothing' is no layer with weights: use one of" in message_of(
        config, checkpoint, 0, '--layer', 'nothing'
    )
    assert 'the test data has 3' in message_of(config, checkpoint, 99, '--layer', LAYER)
    assert "image 'no.jpg' does not exist" in message_of(
        config, checkpoint, 'no.jpg', '--layer', LAYER
    )
    boxes = ('--layer', 'bbox_head.retina_reg', *EVERY_SAMPLE)
    assert 'the loss does not depend on it: name another layer' in message_of(
        config, checkpoint, 0, *boxes
    )
    assert 'has no call 7: it ran 1 times' in message_of(
        config, checkpoint, 0, '--layer', LAYER, '--call', 7, *EVERY_SAMPLE
    )


def test_a_scan(tiny_nuscenes, tmp_path, capsys):
    pytest.importorskip('mmdet3d')
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'configs/demo/centerpoint_pillar_demo-nus.py')
    cfg.test_dataloader.dataset.data_root = str(tiny_nuscenes)
    cfg.dump(tmp_path / 'config.py')
    checkpoint = ROOT / 'configs/demo/checkpoints/centerpoint_pillar_demo-nus.pth'
    out = tmp_path / 'scan.png'
    layer = ('--layer', 'pts_backbone.blocks.1.3')
    run_tool('plot_inliers', tmp_path / 'config.py', checkpoint, 0, *layer, '--out', out)
    assert cv2.imread(str(out)).shape == (412, 1425, 3)
    assert 'inliers; ranges: min-max' in capsys.readouterr().out


def test_ranges_of_rows():
    import torch

    tool = load_tool('plot_inliers')
    x = torch.linspace(0, 1, 200).view(-1, 1)
    x[-1] = 50
    weight = torch.ones(200, 1)
    weight[-1] = 0
    found = tool.ranges(x, weight)
    assert found['min-max'] == pytest.approx((0, 50))
    assert found['InlierQ'][1] == pytest.approx(1, abs=0.1)
    assert list(found) == ['min-max', 'mse', 'InlierQ']


def test_sparse_voxels_from_above():
    import torch

    tool = load_tool('plot_inliers')
    sites = torch.tensor([[0, 0, 1, 2], [0, 3, 1, 2], [0, 1, 0, 0]])
    found = tool.LayerInput(torch.zeros(3, 4), torch.zeros(3, 4), sites, (4, 2, 3))
    layer = torch.nn.Linear(4, 1)  # sites say where the rows are
    grid = tool.as_map(torch.tensor([[0.2], [0.7], [0.1]]), found, layer)
    assert grid.shape == (2, 3)
    assert grid[1, 2] == pytest.approx(0.7) and grid[0, 0] == pytest.approx(0.1)
    assert grid[0, 1] != grid[0, 1]  # NaN: no voxel
