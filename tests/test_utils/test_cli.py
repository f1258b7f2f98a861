"""What the command-line tools have in common."""

import argparse
import re

import pytest
from helpers import ROOT, load_tool
from mmengine.config import Config

from mmptq.utils.cli import load_config, make_parser, merge_options, tool_parser
from mmptq.utils.errors import QuantizationError

OPTIONAL = {'matplotlib', 'mmdet3d', 'nncf', 'onnx', 'onnxruntime', 'openvino', 'spconv'}
TOOLS = sorted(p for p in (ROOT / 'tools').rglob('*.py') if 'def main()' in p.read_text())


def test_help_begins_with_the_first_command():
    commands = 'python tools/x.py CONFIG \\\n    [--out FILE]    # comment\npython tools/x.py B\n'
    text = 'Does it.\n\n' + commands
    parser = tool_parser(text)
    assert parser.format_usage() == 'usage: python tools/x.py CONFIG [--out FILE]\n'
    assert parser.format_help().split('\n\n')[1] == 'Does it.'


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.stem)
def test_help_of_every_tool(path, capsys, monkeypatch):
    monkeypatch.setattr('sys.argv', [str(path), '--help'])
    try:
        tool = load_tool(path.stem)
    except ModuleNotFoundError as error:
        if error.name.split('.')[0] not in OPTIONAL:
            raise
        pytest.skip(str(error))
    with pytest.raises(SystemExit) as stop:
        tool.main()
    assert stop.value.code == 0
    command = f'python {path.relative_to(ROOT)}'
    first = capsys.readouterr().out.splitlines()[0]
    assert re.match(rf'usage: {re.escape(command)}( |$)', first), first


def arguments(config: str, *rest: str) -> argparse.Namespace:
    return make_parser('x').parse_args([config, *rest])


def test_config_of_another_package():
    cfg = load_config(arguments('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'))
    assert cfg.model.type == 'RetinaNet'
    assert cfg.work_dir == 'work_dirs/retinanet_r18_fpn_1x_coco'


@pytest.mark.parametrize('options', [{'a.0.b': 1}, {'b.3.c': 1}, {'c.d': 1}])
def test_options_that_do_not_fit(options):
    cfg = Config(dict(a=3, b=[dict(c=2)], c='text'))
    with pytest.raises(QuantizationError, match='--cfg-options do not fit the config'):
        merge_options(cfg, options)
