"""What holds for the project as a whole: packaging, layout, import layers, configs."""

import ast
import copy
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from mmengine.config import Config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mmptq
from mmptq.compat.env import SUPPORTED

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / 'mmptq').rglob('*.py'))
CONFIGS = sorted((ROOT / 'configs').rglob('*.py'))

ARCHITECTURE = ROOT / 'docs/development/architecture.md'
# Optional layers of other packages are wrapped where they are installed.
OPTIONAL_IMPORTS = {'deform.py': 'mmcv', 'sparse.py': 'spconv'}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_modules(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, anywhere in it."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            names.add(module)
            if module == 'mmptq':
                names.update(f'mmptq.{alias.name}' for alias in node.names)
    return names


def subpackages(modules: set[str]) -> set[str]:
    return {name.split('.')[1] for name in modules if name.startswith('mmptq.')}


def import_table() -> dict[str, set[str]]:
    """The table of docs/development/architecture.md: folder to the folders it may import."""
    rows = re.findall(r'^\| `(\w+)/?` \| [^|]+ \|([^|]*)\|$', ARCHITECTURE.read_text(), re.M)
    return {folder: set(re.findall(r'`(\w+)`', cell)) for folder, cell in rows}


def allowed_imports(package: str) -> set[str]:
    """Sub-packages of mmptq that one of them may import."""
    table = import_table()
    assert package in table, f'mmptq.{package} has no row in {ARCHITECTURE.name}: give it one'
    return table[package] | {package, 'version'}


def setup_metadata() -> dict:
    """The keyword arguments of setup(), without running a build."""
    code = (
        'import json, setuptools; '
        'setuptools.setup = lambda **k: print(json.dumps(k, default=str)); '
        'exec(compile(open("setup.py").read(), "setup.py", "exec"), {"__file__": "setup.py"})'
    )
    output = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ast.literal_eval(output.stdout.replace('false', 'False').replace('true', 'True'))


@pytest.fixture(scope='module')
def metadata() -> dict:
    return setup_metadata()


def test_metadata(metadata):
    assert metadata['name'] == 'mmptq'
    assert metadata['version'] == mmptq.__version__
    assert set(metadata['extras_require']) == {
        'mmcv',
        '3d',
        'test',
        'lint',
        'docs',
        'plot',
        'deploy',
    }
    packages = {relative(path.parent).replace('/', '.') for path in SOURCES}
    assert set(metadata['packages']) == packages


def test_declared_ranges_are_the_checked_ones(metadata):
    declared = metadata['install_requires'] + metadata['extras_require']['mmcv']
    declared = {Requirement(text).name: Requirement(text).specifier for text in declared}
    for name, (lowest, untested) in SUPPORTED.items():
        assert lowest in declared[name]
        assert f'>={lowest}' in str(declared[name])
        if name != 'torch':  # a newer torch is never a reason to install an older one
            assert f'<{untested}' in str(declared[name])


def test_pinned_versions_satisfy_what_is_declared(metadata):
    lines = (ROOT / 'tools/dev/requirements.txt').read_text().splitlines()
    pins = dict(line.split('==') for line in lines if not line.startswith('#'))
    declared = metadata['install_requires'] + sum(metadata['extras_require'].values(), [])
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        pinned = pins.get(name) or pins[f'{name}-headless']
        assert pinned in requirement.specifier, f'{requirement} but {pinned} is pinned'


def test_every_import_is_declared(metadata):
    extras = metadata['extras_require']
    declared = metadata['install_requires'] + extras['mmcv'] + extras['3d'] + extras['deploy']
    declared = {Requirement(text).name for text in declared}
    # mmdet3d depends on nuscenes-devkit for its metric, mmengine on rich, mmcv on Pillow, torch on
    # jinja2, and that on markupsafe.
    others = {'cv2', 'nuscenes', 'rich', 'PIL', 'jinja2', 'markupsafe'}
    known = {'mmptq', *others, *sys.stdlib_module_names, *declared}
    for path in SOURCES:
        unknown = {name.split('.')[0] for name in imported_modules(path)} - known
        assert not unknown, f'{relative(path)} imports {unknown}, which setup.py does not declare'


def test_installed_metadata_has_the_version():
    try:
        installed = version('mmptq')
    except ImportError:
        pytest.skip('mmptq is not installed, it runs from the source folder')
    assert installed == mmptq.__version__


def test_top_level_holds_only_what_belongs_there():
    result = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        pytest.skip('not a git checkout')
    expected = {'mmptq', 'configs', 'docs', 'tools', 'tests', '.ci', 'setup.py', 'pyproject.toml'}
    expected |= {'README.md', 'LICENSE', '.gitignore'}
    assert {line.split('/')[0] for line in result.stdout.splitlines()} <= expected


@pytest.mark.parametrize('path', SOURCES, ids=relative)
def test_imports_respect_the_layers(path):
    parts = path.relative_to(ROOT / 'mmptq').parts
    if len(parts) == 1:
        return  # mmptq/__init__.py imports everything to register it; api.py is on top
    modules = imported_modules(path)
    forbidden = subpackages(modules) - allowed_imports(parts[0])
    assert not forbidden, f'mmptq.{parts[0]} must not import {forbidden}'
    if parts[0] == 'quantization':
        allowed = {'torch', 'mmptq', OPTIONAL_IMPORTS.get(path.name), *sys.stdlib_module_names}
        assert {name.split('.')[0] for name in modules} <= allowed


def test_files_and_folders_stay_small():
    tools = (ROOT / 'tools').rglob('*.py')
    long = [
        relative(path) for path in (*SOURCES, *tools) if len(path.read_text().splitlines()) > 300
    ]
    assert not long, f'over 300 lines: {long}'
    counts = Counter(path.parent for path in SOURCES if 'ptq' in path.relative_to(ROOT).parts)
    assert len(counts) > 5
    full = [relative(folder) for folder, count in counts.items() if count > 12]
    assert not full, f'over 12 files: {full}'


def test_layer_rules_catch_a_violation():
    assert 'engine' not in allowed_imports('ptq')
    assert 'observers' not in allowed_imports('quantization')
    assert 'quantization' not in allowed_imports('lanes')
    with pytest.raises(AssertionError, match='no row'):
        allowed_imports('anything_else')


def test_relative_imports_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], 'ROOT', tmp_path)
    path = tmp_path / 'mmptq' / 'ptq' / 'module.py'
    path.parent.mkdir(parents=True)
    path.write_text('from ..engine import loop\nfrom .units import Unit\nfrom mmptq import report')
    assert imported_modules(path) == {
        'mmptq.engine',
        'mmptq.ptq.units',
        'mmptq',
        'mmptq.report',
    }


@pytest.mark.parametrize('path', SOURCES, ids=relative)
def test_the_package_does_not_print(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if getattr(call.func, 'id', '') == 'print']


def test_no_path_of_one_machine():
    pattern = re.compile(r'(?<![\w.~])/(work|home|root|opt|mnt|Users|tmp)/|\.\./shared')
    paths = [*SOURCES, *CONFIGS, *(ROOT / 'tools').iterdir(), ROOT / 'setup.py', ROOT / 'README.md']
    for path in paths:
        if path.is_file():
            found = pattern.search(path.read_text())
            assert not found, f'{relative(path)} names {found.group()}'


def test_configs_load(monkeypatch):
    """Those that no other config is based on; their bases come along, each read once."""
    read = cache(Config._file2dict)
    monkeypatch.setattr(Config, '_file2dict', lambda *a, **k: copy.deepcopy(read(*a, **k)))
    bases = {path: bases_of(path) for path in CONFIGS}
    used = {base for found in bases.values() for base in found}
    leaves = [path for path in CONFIGS if path not in used]
    assert 20 < len(leaves) < len(CONFIGS)
    for path in leaves:
        assert len(Config.fromfile(path)) > 0, relative(path)


def bases_of(path: Path) -> set[Path]:
    """Files of this project that a config is based on."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            names = ast.literal_eval(node.value)
            names = [names] if isinstance(names, str) else names
            return {(path.parent / name).resolve() for name in names if '::' not in name}
    return set()


def test_a_leaf_has_a_reason():
    """Results and showcases; everything else is --scheme and --recipe."""
    leaves = [path for path in CONFIGS if "type='PTQLoop'" in path.read_text()]
    assert len(leaves) <= 34
    for path in leaves:
        assert f'_{path.parent.name}_' in path.stem, relative(path)
