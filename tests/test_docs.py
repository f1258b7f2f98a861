"""README, docs and method pages: what they name exists, links lead somewhere, tables say how."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
PAGES = [README, *sorted(ROOT.glob('docs/**/*.md')), *sorted(ROOT.glob('configs/**/README.md'))]
RESULTS = [path for path in PAGES if path.parts[-2] == 'benchmarks' or path.parts[-3] == 'configs']

NAMED_PATH = r'(?<![\w./:-])(?:(?:mmptq|configs|tools|tests|docs)/|\.ci/)[\w./*{},-]*'
NAMED_PARTS = r'--(scheme|recipe|backend)s? ((?:[a-z]\w*(?=[\s\])]|$)\s?)+)'
CONDITIONS = ('commit', 'machine', 'data', 'samples', 'steps', 'seeds', 'not at the stated bits')
PARTS = {'scheme': 'schemes', 'recipe': 'recipes', 'backend': 'backends'}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_blocks(text: str) -> str:
    return re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)


def code_of(text: str) -> list[str]:
    """Commands of a page, one per line: variables expanded, continued lines joined."""
    blocks = re.findall(r'^```\w*\n(.*?)^```', text, re.M | re.S)
    blocks += re.findall(r'(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)', without_blocks(text))
    lines = []
    for block in blocks:
        variables = {}
        for line in re.sub(r'\\\n', ' ', block).split('\n'):
            for name, value in variables.items():
                line = re.sub(rf'\${name}\b', lambda _, value=value: value, line)
            assignment = re.match(r'^([A-Z]+)=("([^"]*)"|[^\s;]+)(\s+#.*)?$', line)
            if assignment:
                variables[assignment[1]] = assignment[3] or assignment[2]
            else:
                lines.append(line)
    return lines


def commands_of(text: str) -> list[tuple[str, str]]:
    """Tool and arguments of each ``python tools/...``, without comments."""
    found = []
    for line in code_of(text):
        for tool, arguments in re.findall(r'\bpython (tools/[\w/]+\.py)([^;&]*)', line):
            found.append((tool, re.split(r'\s{2,}# |\s# ', arguments)[0]))
    return found


def sources_of(tool: str) -> str:
    """The tool's text and that of what it imports, where its options are declared."""
    path = ROOT / tool
    modules = [path, *imported_files(path)]
    modules += [inner for module in modules[1:] for inner in imported_files(module)]
    return '\n'.join(module.read_text() for module in modules)


def imported_files(path: Path) -> list[Path]:
    """Files of the project that a file imports names from."""
    places = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            name = f'{node.module.replace(".", "/")}.py'
            places += [path.parent / name] if node.level else [path.parent / name, ROOT / name]
    return [place for place in places if place.is_file()]


def exists(pattern: str) -> bool:
    """Whether a path or glob is there; ``{a,b}`` stands for both, a NAME for any."""
    pattern = re.sub(r'\b(?!README|LICENSE)[A-Z][A-Z_]+\b', '*', pattern)
    braces = re.search(r'\{([^}]*)\}', pattern)
    if braces:
        names = (pattern.replace(braces[0], name) for name in braces[1].split(','))
        return all(map(exists, names))
    return any(ROOT.glob(pattern.rstrip('./,')))


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and mkdocs make it of plain words."""
    text = re.sub(r'[`*]|\]\([^)]*\)|\[', '', heading.strip().lower())
    return re.sub(r'[^\w\- ]', '', text).replace(' ', '-')


def anchors_of(path: Path) -> set[str]:
    headings = re.findall(r'^#+ (.*)$', without_blocks(path.read_text()), re.M)
    return {slug(heading) for heading in headings}


def sections_of(text: str) -> list[str]:
    return re.split(r'^#{2,3} ', text, flags=re.M)


def has_results(section: str) -> bool:
    """Whether a table of the section has cells with decimal numbers."""
    rows = re.findall(r'^\|.*\|$', without_blocks(section), re.M)
    return any(re.search(r'\|\s*-?\d*\.\d+', row) for row in rows)


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_named_paths_exist(path):
    named = set(re.findall(NAMED_PATH, path.read_text()))
    missing = sorted(name for name in named if not exists(name))
    assert not missing, f'{name_of(path)} names paths that do not exist: {missing}'


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_commands_have_their_options(path):
    for tool, arguments in commands_of(path.read_text()):
        source = sources_of(tool)
        for option in re.findall(r'(?<!\S)\[?(--[a-z][\w-]*)', arguments):
            assert f"'{option}'" in source, f'{name_of(path)}: {tool} has no option {option}'


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_no_path_of_one_machine(path):
    pattern = r'(?<![\w.~])/(work|home|root|opt|mnt|Users|tmp)/|\.\./shared'
    assert not re.search(pattern, path.read_text())


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_schemes_recipes_and_backends_exist(path):
    for line in code_of(path.read_text()):
        for kind, names in re.findall(NAMED_PARTS, line):
            if 'benchmark_lidar_ptq' in line and kind == 'scheme':
                continue  # names of its own: int8, w4a8, w4a4, whatever the model
            for name in names.split():
                config = ROOT / f'configs/_base_/{PARTS[kind]}/{name}.py'
                assert config.is_file(), f'{name_of(path)}: no {kind} {name}'


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_configs_of_other_packages_exist(path):
    for package, name in re.findall(r'\b(mm\w+)::([\w./-]+\.py)', path.read_text()):
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue  # mmdet3d is optional
        config = Path(spec.origin).parent / '.mim/configs' / name
        assert config.is_file(), f'{name_of(path)}: {package} has no config {name}'


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    text = without_blocks(path.read_text())
    targets = re.findall(r'\]\(([^)\s]+)\)', text) + re.findall(r'^\[[^]]+\]: (\S+)$', text, re.M)
    for target in targets:
        if '://' in target:
            continue
        file, _, anchor = target.partition('#')
        page = (path.parent / file).resolve() if file else path
        assert page.is_file(), f'{name_of(path)}: no page {target}'
        if anchor:
            assert anchor in anchors_of(page), f'{name_of(path)}: no heading for {target}'


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 220


def test_readme_shows_commands():
    tools = {tool for tool, _ in commands_of(README.read_text())}
    assert {'tools/ptq.py', 'tools/test.py', 'tools/export.py'} <= tools


def test_named_tests_exist():
    for path in PAGES:
        for file, name in re.findall(r'(tests/test_[\w/]+\.py)::(\w+)', path.read_text()):
            assert f'def {name}(' in (ROOT / file).read_text(), f'{file}::{name} in {name_of(path)}'


@pytest.mark.parametrize('path', RESULTS, ids=name_of)
def test_results_tables_have_their_conditions(path):
    sections = [section for section in sections_of(path.read_text()) if has_results(section)]
    for section in sections:
        title = section.split('\n')[0]
        assert re.search(r'\b(python|bash) tools/|tools/[\w/]+\.py', section), (
            f'{name_of(path)}, {title!r}: no command'
        )
        missing = [word for word in CONDITIONS if word not in section.lower().replace('\n> ', ' ')]
        assert not missing, f'{name_of(path)}, {title!r}: the table does not say {missing}'


@pytest.mark.parametrize('page', ['README.md', 'docs/get_started/first_model.md'])
def test_the_python_example_runs(page, tmp_path, monkeypatch):
    blocks = re.findall(r'^```python\n(.*?)^```', (ROOT / page).read_text(), re.M | re.S)
    (example,) = [block for block in blocks if 'mmptq.quantize' in block]
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    names = dict(model=model, float_model=deepcopy(model), batches=[torch.randn(2, 3, 32, 32)])
    monkeypatch.chdir(tmp_path)
    exec(compile(example, page, 'exec'), names)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(names['model'](x), names['restored'](x))
    assert (tmp_path / 'work_dirs/mine/quantized.pth').is_file()


def test_recorded_commits_exist():
    known = subprocess.run(
        ['git', 'log', '--format=%h', '--abbrev=7'], cwd=ROOT, capture_output=True, text=True
    )
    shallow = subprocess.run(
        ['git', 'rev-parse', '--is-shallow-repository'], cwd=ROOT, capture_output=True, text=True
    )
    if known.returncode or shallow.stdout.strip() != 'false':
        pytest.skip('no complete git history')
    for path in RESULTS:
        conditions = re.findall(r'^> \*\*Commit\*\*.*(?:\n>.*)*', path.read_text(), re.M)
        for commit in re.findall(r'\b(?=\w*\d)[0-9a-f]{7}\b', '\n'.join(conditions)):
            assert commit in known.stdout.split(), f'{name_of(path)}: no commit {commit}'


def test_helpers_catch_what_is_wrong():
    text = '```bash\nB="python tools/test.py"\n$B CONFIG \\\n    --nothing 1   # --comment\n```'
    assert commands_of(text) == [('tools/test.py', ' CONFIG      --nothing 1')]
    assert "'--nothing'" not in sources_of('tools/test.py')
    assert "'--work-dir'" in sources_of('tools/test.py')
    assert exists('configs/_base_/schemes/NAME.py') and not exists('configs/nothing/NAME.py')
    assert not exists('configs/{demo,nothing}/*') and exists('configs/{demo,kitti}/*')
    assert has_results('| a | 0.5 |') and not has_results('| a | five |')
    assert slug('BezierLaneNet at 4 bits, `learned`') == 'bezierlanenet-at-4-bits-learned'


def test_the_site_builds(tmp_path):
    if shutil.which('mkdocs') is None and importlib.util.find_spec('mkdocs') is None:
        pytest.skip('mkdocs is not installed: pip install -e .[docs]')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict']
    command += ['-f', str(ROOT / 'tools/dev/mkdocs.yml'), '-d', str(tmp_path / 'site')]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / 'site/configs/detptq/index.html').is_file()
