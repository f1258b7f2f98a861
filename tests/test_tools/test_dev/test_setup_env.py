"""The paths of tools/dev/setup_env.sh that install nothing."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / 'tools' / 'dev' / 'setup_env.sh'
NEEDED = ('bash', 'cat', 'df', 'dirname', 'flock', 'grep', 'mkdir', 'nproc', 'rm', 'sha256sum')
NEEDED += ('tail', 'touch', 'mv')


def source(script=SCRIPT, command='echo "$VIRTUAL_ENV"', **variables):
    """Sources the script in a new bash and runs a command after it."""
    return subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', f'source "{script}"; {command}'],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def only_error(result):
    """The single line that a failed run left on stderr."""
    assert result.returncode == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: ')
    return lines[0]


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with the basic commands, without Python and compilers."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in NEEDED:
        (folder / name).symlink_to(shutil.which(name))
    return folder


def complete_environment(folder):
    """What a finished installation looks like to the script."""
    folder.mkdir()
    stamp = subprocess.run(
        'cat setup.py pyproject.toml tools/dev/requirements.txt tools/dev/setup_env.sh - '
        f'| sha256sum > {folder}/.mmptq-complete',
        shell=True,
        cwd=ROOT,
        input=f'{ROOT}\n',
        text=True,
    )
    assert stamp.returncode == 0


def test_complete_environment_is_reused_at_once(tmp_path):
    folder = tmp_path / 'venv'
    complete_environment(folder)
    start = time.monotonic()
    result = source(command='echo "${PATH%%:*}"', MMPTQ_VENV=str(folder))
    assert result.stdout.strip() == f'{folder}/bin'
    assert time.monotonic() - start < 2


def test_changed_pins_are_noticed(tmp_path, bare_path):
    folder = tmp_path / 'venv'
    folder.mkdir()
    (folder / '.mmptq-complete').write_text('the fingerprint of other pins  -\n')
    result = source(MMPTQ_VENV=str(folder), PATH=str(bare_path))
    assert 'Setting up' in result.stdout
    assert "there is no g++: on Debian run 'apt-get install g++'" in only_error(result)
    assert not (folder / '.mmptq-complete').exists(), 'it would be taken for complete'
    assert (folder / '.mmptq-unfinished').exists()


def test_folder_of_somebody_else_is_left_alone(tmp_path):
    folder = tmp_path / 'venv'
    (folder / 'bin').mkdir(parents=True)
    error = only_error(source(MMPTQ_VENV=str(folder)))
    assert 'was not made by this script' in error and 'MMPTQ_VENV' in error
    assert (folder / 'bin').is_dir()


def test_no_python(tmp_path, bare_path):
    error = only_error(source(MMPTQ_VENV=str(tmp_path / 'venv'), PATH=str(bare_path)))
    assert 'Python 3.11' in error and 'apt-get install' in error


def test_python_too_old(tmp_path, bare_path):
    python = bare_path / 'python3'
    python.write_text('#!/bin/bash\nexit 1\n')
    python.chmod(0o755)
    error = only_error(source(MMPTQ_VENV=str(tmp_path / 'venv'), PATH=str(bare_path)))
    assert 'Python 3.11' in error


def test_disk_too_small(tmp_path, bare_path):
    (bare_path / 'df').unlink()
    (bare_path / 'df').write_text('#!/bin/bash\necho Avail\necho 1048576\n')
    (bare_path / 'df').chmod(0o755)
    error = only_error(source(MMPTQ_VENV=str(tmp_path / 'venv'), PATH=str(bare_path)))
    assert '4 GB of disk space are needed and 1 GB are free' in error
    assert not (tmp_path / 'venv').exists()


def test_quickstart_refuses_an_unknown_config(tmp_path):
    folder = tmp_path / 'venv'
    complete_environment(folder)
    result = subprocess.run(
        ['bash', ROOT / 'tools' / 'dev' / 'quickstart.sh', 'configs/absent.py'],
        env={**os.environ, 'MMPTQ_VENV': str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "no config 'configs/absent.py'" in only_error(result)
