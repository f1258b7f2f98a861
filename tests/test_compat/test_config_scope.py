"""Configs of the installed package: ``mmptq::`` in ``_base_``, and what a wheel brings."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from fresh_process import run_fresh
from helpers import ROOT
from mmengine.config import Config

from mmptq.utils.config_files import base_config

USER_CONFIG = """
_base_ = [
    'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    'mmptq::_base_/schemes/w4a4.py',
    'mmptq::_base_/recipes/qdrop.py',
]
"""
CHECK = """
import sys
import mmptq
from mmengine.config import Config
from mmptq.utils.cli import base_config
assert mmptq.__file__.startswith(sys.argv[1]), mmptq.__file__
cfg = Config.fromfile('user.py')
assert cfg.quantizer.weight.bits == 4 and cfg.stages[1].drop_prob == 0.5
assert base_config('scheme', 'int8').quantizer.act.bits == 8
assert base_config('recipe', 'mse').stages[0].type == 'Calibrator'
assert base_config('backend', 'openvino').backend.export.engine == 'openvino'
"""


def test_bases_of_the_package(tmp_path):
    path = tmp_path / 'user.py'
    path.write_text(USER_CONFIG)
    cfg = Config.fromfile(path)
    assert cfg.quantizer == base_config('scheme', 'w4a4').quantizer
    assert cfg.stages == base_config('recipe', 'qdrop').stages  # no _scope_ in them
    assert cfg.model.type == 'RetinaNet'


def run(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope='module')
def wheel(make_once):
    """A wheel of the project, built once for all processes."""
    (path,) = make_once('wheel', build_wheel).glob('*.whl')
    return path


def build_wheel(folder):
    """Build from a copy of the sources, so that the checkout stays clean."""
    source = folder / 'source'
    source.mkdir()
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns('*.pth', '__pycache__')
    for name in ('mmptq', 'configs'):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    options = ('--quiet', '--no-deps', '--no-build-isolation', '--no-index')
    run(sys.executable, '-m', 'pip', 'wheel', *options, '--wheel-dir', folder, source)


def test_wheel_holds_every_config_and_no_checkpoint(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f'mmptq/.mim/{p.relative_to(ROOT)}' for p in (ROOT / 'configs').rglob('*.py')}
    assert configs <= names
    assert not [name for name in names if name.endswith('.pth')]


def test_installed_wheel_works_from_any_directory(wheel, tmp_path):
    target, elsewhere = tmp_path / 'site', tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'user.py').write_text(USER_CONFIG)
    options = ('--quiet', '--no-deps', '--no-index', '--target', target)
    run(sys.executable, '-m', 'pip', 'install', *options, wheel)
    assert (target / 'mmptq/.mim/configs/_base_').is_dir()
    assert not (target / 'mmptq/.mim/configs').is_symlink()
    done = run_fresh('-c', CHECK, target, cwd=elsewhere, env=dict(PYTHONPATH=str(target)))
    assert done.returncode == 0, done.stderr[-2000:]
