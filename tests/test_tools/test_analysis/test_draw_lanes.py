import cv2
import numpy as np
import pytest
import torch
from helpers import run_tool
from lane_models import build_lane_model, lane_config


@pytest.fixture(scope='module')
def models(tiny_lanes, tmp_path_factory):
    """Config, float and quantized checkpoint of a tiny lane detector."""
    folder = tmp_path_factory.mktemp('lanes')
    cfg = lane_config('lstr', tiny_lanes)
    cfg.calibration = dict(num_samples=2)
    cfg.dump(folder / 'lane.py')
    torch.save(dict(state_dict=build_lane_model('lstr').state_dict()), folder / 'float.pth')
    options = ['--scheme', 'int8', '--recipe', 'minmax', '--work-dir', folder / 'work']
    run_tool('ptq', folder / 'lane.py', folder / 'float.pth', *options)
    return folder / 'lane.py', folder / 'float.pth', folder / 'work/quantized.pth'


def test_picture_of_both_models(models, tiny_lanes, tmp_path, capsys):
    image = tiny_lanes / 'val/00000.jpg'
    out = tmp_path / 'new/lanes.png'
    run_tool('draw_lanes', *models, image, '--out', out)
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 2 * 820 + 8 and picture.shape[0] > 295
    assert 'lanes found: ' in capsys.readouterr().out
    panel, original = picture[-295:, :820], cv2.imread(str(image))
    assert np.array_equal(panel[0], original[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(image='missing.jpg'), "image 'missing.jpg' does not exist"),
        (dict(image='text.jpg'), 'is no image'),
        (dict(image='small.jpg'), 'its data set declares 820x295'),
        (dict(float='quantized'), 'is quantized: give the float one'),
        (dict(quantized='float'), 'is float: give the quantized one'),
        (dict(config='missing.py'), "config 'missing.py' does not exist"),
        (dict(out='lanes.nothing'), 'lanes.nothing'),
    ],
)
def test_bad_input_is_one_sentence(models, tiny_lanes, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.jpg').write_text('no image')
    cv2.imwrite('small.jpg', np.zeros((200, 400, 3), np.uint8))
    config, float_path, quantized_path = models
    paths = dict(float=float_path, quantized=quantized_path)
    arguments = [
        change.get('config', config),
        paths[change.get('float', 'float')],
        paths[change.get('quantized', 'quantized')],
        change.get('image', tiny_lanes / 'val/00000.jpg'),
        '--out',
        change.get('out', 'lanes.png'),
    ]
    with pytest.raises(SystemExit) as error:
        run_tool('draw_lanes', *arguments)
    assert message in str(error.value) and str(error.value).startswith('error: ')
    assert not (tmp_path / 'lanes.png').exists()
