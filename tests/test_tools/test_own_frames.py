"""Own frames without labels for lane models, through tools/ptq.py."""

import shutil

import pytest
from helpers import ROOT, run_tool
from mmengine.config import Config

from mmptq.report import read_record

FLOAT = ROOT / 'configs/demo/scnn_r18_demo-lane.py'
CHECKPOINT = ROOT / 'configs/demo/checkpoints/scnn_r18_demo-lane.pth'


@pytest.fixture
def frames(tiny_lanes, tmp_path):
    """A folder of frames, without a label beside them."""
    folder = tmp_path / 'own'
    folder.mkdir()
    for path in tiny_lanes.glob('val/*.jpg'):
        shutil.copy(path, folder / f'frame_{path.name}')
    return folder


def quantize(config, tmp_path, *options):
    arguments = [config, CHECKPOINT, '--scheme', 'int8', '--recipe', 'minmax']
    run_tool('ptq', *arguments, '--work-dir', tmp_path / 'work', *options)
    return read_record(tmp_path / 'work', 'result')


def test_folder_of_frames(frames, tmp_path):
    options = ['val_dataloader=None', 'train_dataloader=None', 'test_dataloader.num_workers=0']
    settings = ['--calibration-data', frames, '--cfg-options', *options]
    assert quantize(FLOAT, tmp_path, *settings)['num_samples'] == 9


def test_lane_folder_dataset_without_labels(frames, tmp_path, tiny_lanes):
    cfg = Config.fromfile(FLOAT)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dict(
        type='LaneFolderDataset',
        data_root=str(frames.parent),
        data_prefix=dict(img_path='own'),
        pipeline=[],
    )
    # Two evaluation images; no lane file is opened for the comparison of files.
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.dataset.update(data_root=f'{tiny_lanes}/', ann_file='list/val_gt.txt')
    cfg.dump(tmp_path / 'own.py')
    result = quantize(tmp_path / 'own.py', tmp_path, '--cfg-options', 'calibration.num_samples=4')
    assert result['num_samples'] == 4
    assert result['quantized'].keys() == result['float'].keys() != set()
