import json
import os
import subprocess
import sys

import pytest

from mmptq.demo.folder import MANIFEST, is_complete, new_folder, read_manifest


def test_folder_appears_with_its_manifest_when_complete(tmp_path):
    out = tmp_path / 'deep' / 'set'
    with new_folder(out, {'seed': 1, 'size': (2, 3)}) as partial:
        (partial / 'data.txt').write_text('x')
        assert not out.exists()
    assert (out / 'data.txt').read_text() == 'x'
    assert json.loads((out / MANIFEST).read_text()) == {'seed': 1, 'size': [2, 3]}
    assert is_complete(out, {'seed': 1, 'size': (2, 3)})
    assert not is_complete(out, {'seed': 2, 'size': (2, 3)})
    assert os.listdir(out.parent) == ['set']


def test_interruption_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / 'set', {}) as partial:
        (partial / 'data.txt').write_text('x')
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_interrupted_replacement_keeps_the_old_set(tmp_path):
    out = tmp_path / 'set'
    with new_folder(out, {'seed': 1}):
        pass
    with pytest.raises(OSError, match='full'), new_folder(out, {'seed': 2}):
        raise OSError('disk full')
    assert is_complete(out, {'seed': 1})
    assert os.listdir(tmp_path) == ['set']


def test_a_generated_set_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / 'set'
    with new_folder(out, {'seed': 1}) as partial:
        (partial / 'old.txt').write_text('x')
    with new_folder(out, {'seed': 2}) as partial:
        (partial / 'new.txt').write_text('x')
    assert sorted(os.listdir(out)) == [MANIFEST, 'new.txt']
    assert read_manifest(out) == {'seed': 2}
    assert os.listdir(tmp_path) == ['set']


def test_foreign_content_is_refused_and_kept(tmp_path):
    out = tmp_path / 'set'
    out.mkdir()
    (out / 'photo.jpg').write_text('x')
    message = r'set.* choose another output folder'
    with pytest.raises(FileExistsError, match=message), new_folder(out, {}):
        pass
    assert os.listdir(out) == ['photo.jpg']


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'set').mkdir()
    with new_folder(tmp_path / 'set', {}):
        pass
    assert is_complete(tmp_path / 'set', {})


def test_leftovers_of_killed_runs_are_removed_and_live_ones_kept(tmp_path):
    process = subprocess.run(
        [sys.executable, '-c', 'import os; print(os.getpid())'],
        capture_output=True,
        text=True,
        check=True,
    )
    dead = tmp_path / f'.set.partial-{process.stdout.strip()}'
    live = tmp_path / f'.set.partial-{os.getppid()}'
    for folder in (dead, live):
        folder.mkdir()
    with new_folder(tmp_path / 'set', {}):
        pass
    assert not dead.exists()
    assert live.exists()
