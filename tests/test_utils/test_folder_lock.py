"""What happens inside of a locked folder reaches the outside unchanged."""

import pytest

from mmptq.utils.folder_lock import LOCK_FILE, locked_folder


@pytest.mark.parametrize('kind', [FileNotFoundError, OSError, ValueError])
def test_errors_pass_and_the_lock_is_gone(tmp_path, kind):
    with pytest.raises(kind, match='img.jpg'), locked_folder(tmp_path / 'work'):
        raise kind('img.jpg')
    assert not (tmp_path / 'work' / LOCK_FILE).exists()
