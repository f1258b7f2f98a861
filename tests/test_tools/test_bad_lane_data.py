"""What the commands say about lane data that cannot be read: one sentence, file and line."""

import shutil

import pytest
from helpers import ROOT, run_tool

FLOAT = ROOT / 'configs/demo/scnn_r18_demo-lane.py'
CHECKPOINT = ROOT / 'configs/demo/checkpoints/scnn_r18_demo-lane.pth'
LEAF = ROOT / 'configs/mse/scnn_r18_mse_int8_demo-lane.py'


@pytest.fixture
def lanes(tiny_lanes, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(tiny_lanes, tmp_path / 'lanes')


def run(tool: str, lanes, *args: str, workers: int = 0) -> str:
    """The message a command stops with."""
    options = ['calibration.num_samples=2'] if tool == 'ptq' else []
    for split in ('train', 'val', 'test'):
        options += [f'{split}_dataloader.dataset.data_root={lanes}/']
        options += [f'{split}_dataloader.num_workers={workers}']
        options += [f'{split}_dataloader.persistent_workers=False']
    with pytest.raises(SystemExit) as stop:
        run_tool(tool, *args, '--work-dir', lanes.parent / 'work', '--cfg-options', *options)
    message = str(stop.value)
    assert message.startswith('error: ') and '\n' not in message
    return message


@pytest.mark.parametrize('workers', [0, 1])
def test_lane_file(lanes, workers):
    path = next(lanes.glob('val/*.lines.txt'))
    path.write_text('1 2 3 4\n5 6 7\n')
    message = run('test', lanes, FLOAT, CHECKPOINT, workers=workers)
    assert message == (
        f"error: lane file '{path}', line 2: odd number of values (3): each point needs x and y"
    )


def test_image_list(lanes):
    path = lanes / 'list/train_gt.txt'
    path.write_text('a.jpg\nb.jpg b.png\n')
    assert f"image list '{path}', line 2: 2 columns" in run('train', lanes, FLOAT)
    path.unlink()
    assert f"annotation file '{path}' does not exist" in run('ptq', lanes, LEAF)
