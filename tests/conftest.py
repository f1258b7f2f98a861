"""Fixtures shared by all tests, fixed random seeds, and the option --slow."""

import gc
import os
import random
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from mmengine.registry import DefaultScope

LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='run the tests marked slow too')


def pytest_collection_modifyitems(config, items):
    """Leaves out slow tests, unless --slow, -m or the name of a test asks for them."""
    named = any('::' in argument for argument in config.args)
    if named or config.getoption('slow') or config.getoption('markexpr'):
        return
    slow = [item for item in items if item.get_closest_marker('slow')]
    items[:] = [item for item in items if not item.get_closest_marker('slow')]
    config.hook.pytest_deselected(items=slow)
    config.stash[LEFT_OUT] = len(slow)


def pytest_sessionfinish(session):
    """A worker of pytest-xdist sends how many tests it left out: the main process collects none."""
    if hasattr(session.config, 'workeroutput'):
        session.config.workeroutput['left_out'] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Reads what a worker sent; all of them collect the same tests."""
    number = getattr(node, 'workeroutput', {}).get('left_out', 0)
    node.config.stash[LEFT_OUT] = number


def pytest_collection_finish():
    """Data sets of mmengine collect garbage; they need not go through all that was imported."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    number = config.stash.get(LEFT_OUT, 0)
    if number:
        terminalreporter.write_line(f'{number} slow tests were left out: --slow runs them too')


def seed_everything(name: str) -> None:
    """Seeds all random streams; another name gives other numbers."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    """A fixture is the same whichever test asks for it first."""
    seed_everything(fixturedef.argname)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    """A test is the same whatever ran before it in this process."""
    seed_everything(item.name)


@pytest.fixture(scope='session', autouse=True)
def configs_without_layout():
    """The layout of a config's text takes most of the time of a run on a tiny model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """What a test changes for its whole process must not decide about the next test."""
    folder, paths, threads = os.getcwd(), list(sys.path), torch.get_num_threads()
    yield
    DefaultScope._instance_dict.clear()
    os.chdir(folder)
    sys.path[:] = paths
    torch.set_num_threads(threads)


DEVICES = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']


@pytest.fixture(scope='session', params=DEVICES)
def device(request) -> torch.device:
    """Each device that this machine has."""
    return torch.device(request.param)


@pytest.fixture(scope='session')
def make_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``make_once(name, make)``: the folder that ``make(folder)`` fills, once for all workers.

    Tests must not write into the folder: copy what they change.
    """
    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent  # the folder that all workers share

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder = root / 'shared' / name
        complete = folder.with_name(f'{name}.complete')
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.with_name(f'{name}.lock')):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                complete.touch()
        return folder

    return folder_of


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder with the real samples and networks, or a skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'real'
    folder = Path(os.environ.get('MMPTQ_REAL', default))
    if not folder.is_dir():
        pytest.skip(f'real data not found at {folder}; set MMPTQ_REAL to its folder')
    return folder


@pytest.fixture(scope='session')
def tiny_data(make_once) -> Path:
    """A generated COCO-format data set of six training and three validation images."""
    from mmptq.demo.coco_scenes import generate

    size = dict(train=6, val=3, seed=0, width=96, height=64)
    return make_once('coco', lambda folder: generate(folder, **size))


@pytest.fixture(scope='session')
def tiny_float(tiny_data, make_once) -> Path:
    """Folder with ``tiny.py`` and ``float.pth`` of a tiny RetinaNet."""
    from helpers import save_float_checkpoint, tiny_config

    def make(folder: Path) -> None:
        cfg = tiny_config(tiny_data, folder / 'work')
        cfg.load_from = str(folder / 'float.pth')
        save_float_checkpoint(cfg, cfg.load_from)
        cfg.dump(folder / 'tiny.py')

    return make_once('tiny_float', make)


def copy_tiny(source: Path, target: Path) -> tuple[Path, Path]:
    """Config and float checkpoint in another folder, which the config names."""
    text = (source / 'tiny.py').read_text()
    (target / 'tiny.py').write_text(text.replace(str(source), str(target)))
    shutil.copy(source / 'float.pth', target)
    return target / 'tiny.py', target / 'float.pth'


@pytest.fixture
def tiny(tiny_float, tmp_path) -> tuple[Path, Path]:
    """Config file and float checkpoint of a tiny RetinaNet, copies for this test."""
    return copy_tiny(tiny_float, tmp_path)


@pytest.fixture(scope='session')
def tiny_quantized(tiny_float, make_once) -> Path:
    """Folder with ``tiny.py``, ``float.pth`` and ``work``, where tools/ptq.py wrote its results."""
    from helpers import run_tool

    def make(folder: Path) -> None:
        config, _ = copy_tiny(tiny_float, folder)
        run_tool('ptq', config)

    return make_once('tiny_quantized', make)


@pytest.fixture(scope='session')
def tiny_nuscenes(make_once) -> Path:
    """A generated nuScenes-format set: two scenes of two keyframes each for train and val."""
    from mmptq.demo.nuscenes_scenes import generate

    size = dict(train=2, val=2, keyframes=2, columns=180, seed=3, image_size=(96, 56))
    return make_once('nuscenes', lambda folder: generate(folder, **size))


@pytest.fixture(scope='session')
def tiny_lanes(make_once) -> Path:
    """A generated CULane-format set of 820x295 pixels, two training and nine validation images."""
    from mmptq.demo.lane_scenes import generate

    return make_once('lane', lambda folder: generate(folder, train=2, val=9, seed=0))
