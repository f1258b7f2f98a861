import importlib
import warnings
from types import SimpleNamespace

import pytest

from mmptq.compat import env


@pytest.fixture
def packages(monkeypatch):
    """Versions of the installed packages, to be changed; an exception is what importing raises."""
    found = {'torch': '2.13.0+cpu', 'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0'}
    found |= {'mmcv.ops': '-', 'spconv.pytorch': '-'}

    def import_module(name):
        if isinstance(found[name], Exception):
            raise found[name]
        return SimpleNamespace(__version__=found[name], name=name)

    monkeypatch.setattr(env, 'import_module', import_module)
    return found


def missing(name):
    return ModuleNotFoundError(f"No module named '{name}'", name=name)


def one_sentence(error):
    assert '\n' not in str(error.value)


def test_this_environment_passes():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        env.check_environment()
    assert caught == []


def test_good_versions_pass_silently(packages):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        env.check_environment()
    assert caught == []


@pytest.mark.parametrize('name', list(env.SUPPORTED))
def test_missing_package(packages, name):
    packages[name] = missing(name)
    fix = 'pip install --no-build-isolation mmcv' if name == 'mmcv' else f'install {name}>='
    with pytest.raises(ImportError, match=f'needs {name}, which is not installed: .*{fix}') as e:
        env.check_environment()
    one_sentence(e)


def test_package_that_misses_a_part(packages):
    packages['mmdet'] = missing('pycocotools')
    with pytest.raises(ImportError, match='mmdet is incomplete.*pycocotools') as error:
        env.check_environment()
    one_sentence(error)


def test_package_that_refuses_its_neighbours(packages):
    packages['mmdet'] = AssertionError('MMCV==2.1.0 is used but incompatible.')
    with pytest.raises(ImportError, match='mmdet does not work.*MMCV==2.1.0') as error:
        env.check_environment()
    one_sentence(error)


def test_mmcv_without_operators(packages):
    packages['mmcv.ops'] = missing('mmcv._ext')
    packages['mmdet'] = AssertionError('never reached')
    with pytest.raises(
        ImportError, match='mmcv.*without working compiled operators.*mmcv-lite'
    ) as e:
        env.check_environment()
    one_sentence(e)


@pytest.mark.parametrize(
    'name, old', [('torch', '2.5.1+cu121'), ('mmengine', '0.9.1'), ('mmcv', '2.0.1')]
)
def test_too_old(packages, name, old):
    packages[name] = old
    with pytest.raises(ImportError, match=f'{name} .* is too old.*install {name}>=') as error:
        env.check_environment()
    one_sentence(error)


@pytest.mark.parametrize('name, new', [('torch', '2.15.0a0+git1'), ('mmcv', '2.2.0')])
def test_newer_than_tested_only_warns(packages, name, new):
    packages[name] = new
    with pytest.warns(UserWarning, match=f'{name} .* is newer than what mmptq was tested with'):
        env.check_environment()


def test_require_spconv_returns_the_module():
    spconv = pytest.importorskip('spconv.pytorch')
    assert env.require_spconv('the voxel encoder') is spconv


def test_require_spconv_names_who_needs_it_and_the_fix(packages):
    packages['spconv.pytorch'] = missing('spconv')
    with pytest.raises(
        ImportError, match='^the voxel encoder needs spconv.*pip install spconv'
    ) as e:
        env.require_spconv('the voxel encoder')
    one_sentence(e)


def test_import_module_is_the_real_one():
    assert env.import_module is importlib.import_module
