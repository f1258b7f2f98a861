"""What is wrong with an image file, before it is decoded."""

import numpy as np
import pytest
from PIL import Image

from mmptq.utils.image_file import image_problem


@pytest.mark.parametrize('ending', ['jpg', 'png', 'bmp', 'webp', 'tif'])
def test_sound_files(tmp_path, ending):
    path = tmp_path / f'a.{ending}'
    Image.fromarray(np.random.randint(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    assert image_problem(str(path)) is None


@pytest.mark.parametrize('ending', ['jpg', 'png'])
def test_truncated_files(tmp_path, ending):
    path = tmp_path / f'a.{ending}'
    Image.fromarray(np.random.randint(0, 255, (99, 99, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 'cannot be decoded (' in image_problem(str(path))
    path.write_bytes(content + b'\0' * 9000)  # data of a phone behind the image
    assert image_problem(str(path)) is None


def test_empty_absent_and_unreadable_files(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    path.touch()
    assert image_problem(str(path)) == 'is an empty file'
    assert image_problem('s3://bucket/a.jpg') is None

    def refuse(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    assert image_problem(str(path)) == 'cannot be read (Permission denied)'
