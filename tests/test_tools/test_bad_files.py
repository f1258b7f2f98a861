"""tools/ptq.py and tools/test.py say which file is missing, and which keys lead to it."""

import re
import shutil

import pytest
from helpers import error_of


@pytest.fixture
def without_an_image(tiny, tiny_data, tmp_path):
    """A config whose validation images lack one file, and the float checkpoint."""
    path, checkpoint = tiny
    data = shutil.copytree(tiny_data, tmp_path / 'data')
    missing = sorted((data / 'val').glob('*.jpg'))[1]
    missing.unlink()
    path.write_text(path.read_text().replace(str(tiny_data), str(data)))
    return path, checkpoint, missing


@pytest.mark.parametrize('num_workers', [0, 1])
def test_missing_evaluation_image(without_an_image, num_workers):
    path, _, missing = without_an_image
    options = [f'val_dataloader.num_workers={num_workers}']
    options.append('val_dataloader.persistent_workers=False')
    error = error_of('ptq', path, '--cfg-options', *options)
    keys = 'check data_root, data_prefix and ann_file in val_dataloader.dataset'
    assert error == f"error: file '{missing}' does not exist: {keys}"


def test_missing_test_image(without_an_image):
    path, checkpoint, missing = without_an_image
    error = error_of('test', path, checkpoint)
    assert f"file '{missing}' does not exist: check data_root" in error
    assert error.endswith('in test_dataloader.dataset')


def test_unknown_export_key_is_refused_before_the_run(tiny):
    path, _ = tiny
    text = path.read_text() + "\nbackend = dict(name='a', export=dict(engine='x', opsett=3))\n"
    path.write_text(text)
    error = error_of('ptq', path)
    assert re.search("backend.export has an unknown key 'opsett': use engine", error)
    assert not (path.parent / 'work').exists()
