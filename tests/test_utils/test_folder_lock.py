"""One run at a time works in a folder, and what happens inside reaches the outside unchanged."""

import os
import signal
import subprocess
import sys

import pytest
from helpers import ROOT

from mmptq.utils.errors import QuantizationError
from mmptq.utils.folder_lock import LOCK_FILE, locked_folder

HOLD = """
import sys
from mmptq.utils.folder_lock import locked_folder
with locked_folder(sys.argv[1]):
    print('locked', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', HOLD, str(tmp_path)],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'locked\n'
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused(holder, tmp_path):
    message = f'another run works in .*process {holder.pid} on .*choose another --work-dir'
    with pytest.raises(QuantizationError, match=message), locked_folder(tmp_path):
        pass


def test_the_lock_of_a_killed_run_stops_nobody(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with locked_folder(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', [FileNotFoundError, OSError, ValueError])
def test_errors_pass_and_the_lock_is_gone(tmp_path, kind):
    with pytest.raises(kind, match='img.jpg'), locked_folder(tmp_path / 'work'):
        raise kind('img.jpg')
    assert not (tmp_path / 'work' / LOCK_FILE).exists()
