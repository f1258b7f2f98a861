"""The tools that look at single scans: bird's-eye view, agreement, ranges of a layer's input."""

import json

import cv2
import pytest
import torch

pytest.importorskip('mmdet3d')

from helpers import ROOT, error_of, run_tool  # noqa: E402
from mmengine.config import Config  # noqa: E402

from mmptq.engine.checkpoint import save_quantized  # noqa: E402
from mmptq.engine.run_context import context_of  # noqa: E402
from mmptq.ptq import Calibrator  # noqa: E402
from mmptq.ptq.run import convert_model  # noqa: E402
from mmptq.quantization import freeze  # noqa: E402

FLOAT = ROOT / 'configs/demo/checkpoints/centerpoint_pillar_demo-nus.pth'


@pytest.fixture(scope='module')
def case(tiny_nuscenes, tmp_path_factory):
    """Config, quantized checkpoint and a scan of the trained demo CenterPoint."""
    folder = tmp_path_factory.mktemp('pictures')
    cfg = Config.fromfile(ROOT / 'configs/mse/centerpoint_pillar_mse_int8_demo-nus.py')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = str(tiny_nuscenes)
        loader.update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.data_root = str(tiny_nuscenes)
        evaluator.ann_file = str(tiny_nuscenes / 'nuscenes_infos_val.pkl')
    cfg.load_from = str(FLOAT)
    cfg.dump(folder / 'config.py')
    ctx = context_of(cfg, num_samples=1)
    convert_model(ctx)
    Calibrator().run(ctx)
    freeze(ctx.model)
    save_quantized(ctx.model, ctx.plan, folder / 'int8.pth', {}, '')
    (scan, *_) = sorted((tiny_nuscenes / 'samples/LIDAR_TOP').glob('*.bin'))
    return folder / 'config.py', folder / 'int8.pth', scan


def test_bird_eye_view_of_a_file_and_of_a_sample(case, tmp_path, capsys):
    config, checkpoint, scan = case
    for index, source in enumerate((scan, 0)):
        out = tmp_path / f'{index}.png'
        run_tool('draw_bev', config, checkpoint, source, '--out', out)
        picture = cv2.imread(str(out))
        assert max(picture.shape) == 1400
        assert 'boxes' in capsys.readouterr().out


def test_bad_scans_are_one_sentence(case, tmp_path):
    config, checkpoint, _ = case
    assert "'none.bin' does not exist" in error_of('draw_bev', config, checkpoint, 'none.bin')
    cut = tmp_path / 'cut.bin'
    cut.write_bytes(b'1234567')
    assert 'cut off' in error_of('draw_bev', config, checkpoint, cut)
    assert 'the test data has 4' in error_of('draw_bev', config, checkpoint, 99)
    assert not (tmp_path / 'bev.png').exists()


def test_agreement_with_itself_is_perfect_and_with_int8_close(case, tmp_path):
    config, checkpoint, scan = case
    run_tool('compare_detections', config, FLOAT, scan, '--out', tmp_path / 'self.json')
    own = json.loads((tmp_path / 'self.json').read_text())[-1]
    assert own['float boxes'] == own['quantized boxes'] > 0
    assert (own['matched'], own['centre error m'], own['heading error deg']) == (1, 0, 0)
    run_tool('compare_detections', config, checkpoint, scan, 1, '--out', tmp_path / 'a.json')
    rows = json.loads((tmp_path / 'a.json').read_text())
    assert [row['scan'] for row in rows] == [scan.name, '1', 'all']
    assert 0.5 < rows[-1]['matched'] <= 1
    assert 0 < rows[-1]['centre error m'] < 0.5


def test_ranges_of_a_layer(case, tmp_path, capsys):
    pytest.importorskip('matplotlib')
    config, _, _ = case
    out = tmp_path / 'range.png'
    layer = 'pts_backbone.blocks.0.0'
    run_tool('plot_activation_range', config, layer, '--num-samples', '1', '--out', out)
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split('|')[1:]] for line in text.splitlines()]
    names = ('min-max', 'entropy with zeros', 'LiDAR-PTQ grid')
    clipped = {row[0]: int(row[3]) for row in rows if row and row[0] in names}
    assert clipped['min-max'] == 0
    assert clipped['entropy with zeros'] > clipped['LiDAR-PTQ grid']
    assert cv2.imread(str(out)) is not None
    assert 'is no layer' in error_of(
        'plot_activation_range', config, 'nothing', '--num-samples', '1'
    )


def test_float_model_of_the_checkpoint_is_loaded_as_it_was(case):
    from mmptq.engine import load_model

    model = load_model(Config.fromfile(case[0]), FLOAT)
    state = torch.load(FLOAT, weights_only=True)['state_dict']
    assert all(torch.equal(v.float(), state[k].float()) for k, v in model.state_dict().items())
