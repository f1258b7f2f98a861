"""Configs by path and by package, and the names of configs/_base_."""

import pytest
from helpers import ROOT
from mmengine.config import Config

from mmptq.utils.config_files import (
    BASE_CONFIGS,
    base_config,
    config_path,
    config_stem,
    read_config,
)


def test_a_path_stays_as_it_is():
    path = str(ROOT / 'configs/demo/retinanet_r18_fpn_demo-coco.py')
    assert config_path(path) == path
    with pytest.raises(FileNotFoundError, match="config 'nowhere.py' does not exist"):
        config_path('nowhere.py')


@pytest.mark.parametrize(
    'name',
    ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', 'mmptq::_base_/recipes/mse.py'],
)
def test_config_of_a_package(name):
    path = config_path(name)
    assert path.endswith('.mim/configs/' + name.split('::')[1])
    assert len(Config.fromfile(path)) > 0
    assert config_stem(name) == name.split('/')[-1][:-3]


def test_the_closest_config_is_named():
    with pytest.raises(FileNotFoundError, match="closest is 'mmptq::_base_/schemes/int8.py'"):
        config_path('mmptq::_base_/schemes/int88.py')
    with pytest.raises(FileNotFoundError, match="there is no package 'nix'"):
        config_path('nix::a/b.py')


def test_base_configs_are_those_of_the_checkout():
    assert BASE_CONFIGS.resolve() == ROOT / 'configs/_base_'
    assert base_config('scheme', 'w4a8').quantizer.weight.bits == 4
    with pytest.raises(FileNotFoundError, match="no backend 'abacus': use one of onnxruntime,"):
        base_config('backend', 'abacus')


def test_a_config_of_projects_without_its_code(tmp_path):
    path = tmp_path / 'petr.py'
    path.write_text("custom_imports = dict(imports=['projects.PETR.petr'])\n")
    with pytest.raises(FileNotFoundError, match="No module named 'projects.*clone the repository"):
        read_config(str(path))
