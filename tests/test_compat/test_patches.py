"""The table of patches: what is documented, switched off and undone."""

import re

import pytest
import torch
from fresh_process import run_fresh
from helpers import ROOT
from mmengine.config import Config

from mmptq.compat import PATCHES, apply_patches, is_enabled, undo_patches
from mmptq.compat.patches import VARIABLE


def test_the_page_is_the_table():
    page = (ROOT / 'docs/development/compat.md').read_text()
    rows = re.findall(r'^\| `(\w+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$', page, re.M)
    assert rows == [(p.name, p.changes, p.reason, p.packages, p.when) for p in PATCHES]
    assert VARIABLE in page


def changed_places() -> list:
    """The attributes that patches replace, and the types that torch may load."""
    ops = pytest.importorskip('spconv.pytorch.ops')
    conv = pytest.importorskip('spconv.pytorch.conv').SparseConvolution
    types = {str(entry) for entry in torch.serialization.get_safe_globals()}
    attributes = (Config._get_cfg_path, ops.indice_conv, ops.indice_conv_backward, conv.forward)
    return [*attributes, types]


def test_patches_are_applied_once_and_can_be_undone():
    applied = changed_places()
    apply_patches()
    assert changed_places() == applied
    try:
        undo_patches()
        undone = changed_places()
        assert all(a is not b and a != b for a, b in zip(applied, undone, strict=True))
        undo_patches()
        assert changed_places() == undone
    finally:
        apply_patches()
    assert changed_places()[-1] == applied[-1]
    assert changed_places()[1].__wrapped__ is undone[1]
    assert changed_places()[3].__wrapped__ is undone[3]


CHECK = """
import mmptq, torch
from mmengine.config import Config
from mmptq.compat import is_enabled
print(Config._get_cfg_path.__module__, len(torch.serialization.get_safe_globals()) > 5)
print(is_enabled('empty_scans'), is_enabled('spconv_remembered_pairs'))
try:
    from spconv.pytorch import conv, ops
except ImportError:
    print(False, True)
else:
    patched = (ops.indice_conv, conv.SparseConvolution.forward)
    print(*(hasattr(function, '__wrapped__') for function in patched))
"""


def test_patches_are_switched_off_by_name():
    names = 'config_scope, spconv_one_thread,empty_scans,'
    result = run_fresh('-c', CHECK, env={VARIABLE: names})
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[-3:] == [['mmengine.config.config', 'True'], ['False', 'True'], ['False', 'True']]


def test_a_name_that_is_no_patch(monkeypatch):
    monkeypatch.setenv(VARIABLE, 'safe_global')
    with pytest.raises(ImportError, match="an unknown patch 'safe_global': use safe_globals, con"):
        is_enabled('safe_globals')
