"""Compilation, and what is said where it is not possible; sanitizers."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from mmptq.deploy.sparse_engine import build, library
from mmptq.quantization import QuantizationError


def test_a_library_that_was_not_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(library, 'library_path', lambda: tmp_path / 'no.so')
    assert not library.is_built()
    with pytest.raises(QuantizationError, match='run `python -m mmptq.deploy.sparse_engine.build`'):
        library.load_library()


def test_a_library_that_is_none(tmp_path):
    (tmp_path / 'a.so').write_text('nothing')
    with pytest.raises(QuantizationError, match='cannot be loaded .*: delete it and run'):
        library.load_library(tmp_path / 'a.so')


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(build.BuildError, match=r"needs a C\+\+ compiler .* 'apt-get install g"):
        build.build(tmp_path)


def test_a_compiler_that_fails(tmp_path, monkeypatch):
    compiler = tmp_path / 'c++'
    compiler.write_text('#!/bin/sh\necho "error: too old" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    with pytest.raises(build.BuildError, match=r'does not compile with .*too old.*use g\+\+ 11'):
        build.build(tmp_path)
    assert list((tmp_path / 'lib').iterdir()) == []


def test_what_was_compiled_is_kept(library):
    assert build.build() == build.library_path()


def test_changed_sources_need_a_new_library(tmp_path, monkeypatch):
    before = build.fingerprint()
    (tmp_path / 'a.cpp').write_text('int x;')
    monkeypatch.setattr(build, 'SOURCE', tmp_path)
    assert build.fingerprint() != before


@pytest.mark.slow
def test_sanitizers_find_nothing(library, tmp_path):
    """The tests of kernels and sites once more, compiled with ASan and UBSan."""
    flags = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-g', '-O1']
    path = build.build(tmp_path, tuple(flags))
    runtimes = [
        subprocess.run(
            [build.find_compiler(), f'-print-file-name={name}'], capture_output=True, text=True
        ).stdout.strip()
        for name in ('libasan.so', 'libubsan.so')
    ]
    if not all(Path(name).is_absolute() for name in runtimes):
        pytest.skip('this compiler has no sanitizers')
    folder = Path(__file__).parent
    tests = [str(folder / name) for name in ('test_kernels.py', 'test_sites.py', 'test_points.py')]
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *tests],
        env=_environment(path, runtimes),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert ' passed' in result.stdout


def _environment(path: Path, runtimes: list[str]) -> dict[str, str]:
    import os

    return {
        **os.environ,
        library.LIBRARY_VARIABLE: str(path),
        'LD_PRELOAD': ' '.join(runtimes),
        'ASAN_OPTIONS': 'detect_leaks=0',
        'UBSAN_OPTIONS': 'print_stacktrace=1',
        'PYTHONPATH': str(ROOT),
    }
