"""Every tensor that the source makes says where, and nothing reads a GPU as if it were memory."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NAMES = """
arange as_tensor asarray bartlett_window blackman_window empty empty_strided eye from_numpy
frombuffer full hamming_window hann_window linspace logspace normal ones rand randint randn
randperm range scalar_tensor sparse_coo_tensor tensor tril_indices triu_indices zeros
Generator Tensor FloatTensor LongTensor IntTensor BoolTensor
"""
FACTORIES = set(NAMES.split())
# torch.from_numpy has no device: what it gives is moved at once, with .to(...).
MOVED = {'from_numpy', 'frombuffer'}
# A buffer or parameter is made where torch's default device is, and moves with its module.
OWNED = {'register_buffer', 'Parameter', 'register_parameter'}

# Files that work on the CPU alone, and why.
CPU_ONLY = {
    'mmptq/demo': 'draws data sets with numpy',
    'mmptq/datasets': 'transforms run in the workers of a data loader',
    'mmptq/evaluation': 'metrics take results on the CPU, as mmengine collects them',
    'mmptq/lanes/datasets': 'transforms run in the workers of a data loader',
    'mmptq/lanes/evaluation': 'metrics take results on the CPU, as mmengine collects them',
    'mmptq/deploy/graph': 'arrays of a file',
    'mmptq/ptq/replay/activation_cache.py': 'bytes of a file; what it reads is moved at once',
    'mmptq/deploy/observe.py': 'inputs and outputs of ONNX Runtime on the CPU',
    'mmptq/observers/entropy.py': 'searches a histogram, whose counts it copies to the CPU',
    'mmptq/observers/histogram_search.py': 'searches a histogram, whose counts it copies',
    'mmptq/lanes/models/heads/anchor/lane_anchor_generator.py': 'anchors become buffers',
}


def files() -> list[Path]:
    return sorted((ROOT / 'mmptq').rglob('*.py'))


def cpu_only(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(name == part or name.startswith(f'{part}/') for part in CPU_ONLY)


def with_parents(source: str) -> Iterator[tuple[ast.Call, list[ast.AST]]]:
    """All calls, each with the nodes around it, the closest first."""

    def walk(node: ast.AST, around: list[ast.AST]) -> Iterator[tuple[ast.Call, list[ast.AST]]]:
        if isinstance(node, ast.Call):
            yield node, around
        for child in ast.iter_child_nodes(node):
            yield from walk(child, [node, *around])

    yield from walk(ast.parse(source), [])


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, 'id', '')


def is_torch(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == 'torch'


def keywords(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def factories_without_device(source: str) -> list[str]:
    found = []
    for call, around in with_parents(source):
        name = name_of(call)
        if not is_torch(call) or name not in FACTORIES or 'device' in keywords(call):
            continue
        if name == 'Generator' and call.args:
            continue
        owners = [name_of(node) for node in around if isinstance(node, ast.Call)]
        if OWNED.intersection(owners) or (name in MOVED and 'to' in owners):
            continue
        found.append(f'{call.lineno}: {ast.unparse(call)}')
    return found + passed_on(source)


def passed_on(source: str) -> list[str]:
    """Factories that another function calls, as in ``map(torch.from_numpy, arrays)``."""
    found = []
    for call, _ in with_parents(source):
        for x in [*call.args, *(keyword.value for keyword in call.keywords)]:
            if isinstance(x, ast.Attribute) and ast.unparse(x.value) == 'torch':
                found += [f'{call.lineno}: {ast.unparse(call)}'] * (
                    x.attr in FACTORIES and x.attr.islower()
                )
    return found


def loads_without_place(source: str) -> list[str]:
    return [
        f'{call.lineno}: {ast.unparse(call)}'
        for call, _ in with_parents(source)
        if is_torch(call) and name_of(call) == 'load' and 'map_location' not in keywords(call)
    ]


def arrays_of_gpus(source: str) -> list[str]:
    """Calls of ``.numpy()`` without ``.cpu()`` before."""
    found = []
    for call, _ in with_parents(source):
        if name_of(call) == 'numpy' and isinstance(call.func, ast.Attribute):
            chain = ast.unparse(call.func.value)
            if '.cpu()' not in chain and "device='cpu'" not in chain:
                found.append(f'{call.lineno}: {ast.unparse(call)}')
    return found


@pytest.mark.parametrize('rule', [factories_without_device, arrays_of_gpus])
def test_tensors_have_a_device(rule):
    found = [
        f'{path.relative_to(ROOT)}:{line}'
        for path in files()
        if not cpu_only(path)
        for line in rule(path.read_text())
    ]
    assert not found, '\n'.join(['name a device (device=x.device):', *found])


def test_files_are_loaded_to_a_place():
    found = [
        f'{path.relative_to(ROOT)}:{line}'
        for folder in ('mmptq', 'tools')
        for path in sorted((ROOT / folder).rglob('*.py'))
        for line in loads_without_place(path.read_text())
    ]
    assert not found, '\n'.join(["add map_location='cpu':", *found])


def test_the_list_of_cpu_files_is_up_to_date():
    for name in CPU_ONLY:
        path = ROOT / name
        assert path.exists(), name
        parts = [path] if path.is_file() else path.rglob('*.py')
        text = '\n'.join(part.read_text() for part in parts)
        used = factories_without_device(text) if path.is_file() else ['a folder']
        assert used or arrays_of_gpus(text), f'{name} needs no exception'


@pytest.mark.parametrize(
    'source, count',
    [
        ('torch.zeros(3)', 1),
        ('torch.zeros(3, device=x.device)', 0),
        ('self.register_buffer("a", torch.zeros(3))', 0),
        ('nn.Parameter(torch.rand(3))', 0),
        ('torch.stack([torch.zeros(()), x])', 1),
        ('torch.from_numpy(a)', 1),
        ('torch.from_numpy(a).to(x.device)', 0),
        ('f(torch.from_numpy(a).float()).to(x)', 0),
        ('torch.Generator()', 1),
        ('torch.Generator("cpu")', 0),
        ('map(torch.from_numpy, arrays)', 1),
        ('x.new_zeros(3)', 0),
        ('torch.zeros_like(x)', 0),
    ],
)
def test_the_rule_finds_factories(source, count):
    assert len(factories_without_device(source)) == count


def test_the_rules_for_files_and_arrays():
    assert loads_without_place('torch.load(path)')
    assert not loads_without_place('torch.load(path, map_location="cpu")')
    assert arrays_of_gpus('x.numpy()')
    assert not arrays_of_gpus('x.detach().cpu().numpy()')
