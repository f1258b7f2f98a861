"""A file is complete or absent."""

import json

import pytest

from mmptq.utils.files import complete_file, write_json


def test_appears_when_complete(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    with complete_file(path) as temporary:
        temporary.write_text('x')
        assert not path.exists()
    assert path.read_text() == 'x'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    'error', [OSError('No space left on device'), RuntimeError('enforce fail')]
)
def test_failure_keeps_the_old_file_and_names_it(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    message = r"a\.txt' \((OSError: No space|RuntimeError: enforce fail)"
    with pytest.raises(OSError, match=message), complete_file(path) as temporary:
        temporary.write_text('half')
        raise error
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_interruption_keeps_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    with pytest.raises(KeyboardInterrupt), complete_file(path) as temporary:
        temporary.write_text('half')
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_json(tmp_path):
    write_json({'a': [1, None]}, tmp_path / 'a.json')
    assert json.loads((tmp_path / 'a.json').read_text()) == {'a': [1, None]}
