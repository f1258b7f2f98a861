"""Compiles the kernels of the sparse engine: python mmptq/deploy/sparse_engine/build.py

It needs nothing but the standard library and g++, so that setup.py can use it before anything is
installed. What was compiled from the same sources before is kept.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOURCE = FOLDER / 'src'
# Multiplications and additions stay two operations: all instruction sets give the same bits.
# Sums of integers may wrap on the way: the last one fits.
FLAGS = [
    *('-std=c++17', '-O3', '-fPIC', '-pthread'),
    *('-fno-strict-aliasing', '-fwrapv', '-ffp-contract=off'),
]
BIT_FLAGS = ['-mpopcnt', '-mbmi', '-mbmi2']
AVX512 = ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx512vnni']
ANYWHERE = ('engine', 'points', 'dense', 'plain')
# Object file: source and flags. Nothing depends on the processor that compiles.
X86 = {
    'sse2': ('sse2.cpp', []),
    'avx2': ('avx2.cpp', ['-mavx2', *BIT_FLAGS]),
    'avx512': ('avx512.cpp', [*AVX512, *BIT_FLAGS]),
}
AVX_VNNI = ('avx2.cpp', [*X86['avx2'][1], '-mavxvnni', '-DMMPTQ_AVX_VNNI_HERE'])
INSTALL_COMPILER = "on Debian run 'apt-get install g++'"


class BuildError(Exception):
    """Why the kernels cannot be compiled, in one sentence."""


def fingerprint() -> str:
    """Changes with everything that a compiled file depends on."""
    parts = [path.name.encode() + path.read_bytes() for path in sorted(SOURCE.iterdir())]
    settings = repr((FLAGS, X86, AVX_VNNI, platform.machine(), sys.platform))
    return hashlib.sha256(b''.join([*parts, settings.encode()])).hexdigest()[:12]


def library_path(folder: Path | None = None) -> Path:
    """Where the compiled library of these sources lies."""
    return Path(folder or FOLDER) / 'lib' / f'sparse_engine_{fingerprint()}.so'


def find_compiler() -> str:
    """The C++ compiler: that of the variable CXX, or g++, clang++ or c++."""
    names = [os.environ.get('CXX', ''), 'g++', 'clang++', 'c++']
    found = next((name for name in names if name and shutil.which(name)), None)
    if found is None:
        raise BuildError(
            f'the sparse engine needs a C++ compiler and there is none: {INSTALL_COMPILER}'
        )
    return found


def build(folder: Path | None = None, extra: tuple[str, ...] = ()) -> Path:
    """Compile the library, if that was not done before.

    Args:
        folder (Path, optional): Its folder ``lib`` gets the library; default is that of this file.
        extra (tuple[str]): Further flags, as those of a sanitizer.

    Raises:
        BuildError: If there is no compiler or it fails.
    """
    target = library_path(folder)
    if target.exists() and not extra:
        return target
    compiler = find_compiler()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        objects, defines = [], []
        if platform.machine().lower() in ('x86_64', 'amd64'):
            defines = ['-DMMPTQ_X86']
            if _knows(compiler, '-mavxvnni', Path(scratch)):
                defines.append('-DMMPTQ_AVX_VNNI')
        units = {name: (f'{name}.cpp', []) for name in ANYWHERE}
        units.update(X86 if defines else {})
        units.update({'avx_vnni': AVX_VNNI} if len(defines) > 1 else {})
        for name, (source, flags) in units.items():
            objects.append(str(Path(scratch, f'{name}.o')))
            command = [*FLAGS, *extra, *defines, *flags, '-c', str(SOURCE / source)]
            _run([compiler, *command, '-o', objects[-1]])
        library = Path(scratch, 'library.so')
        _run([compiler, '-shared', '-pthread', *extra, *objects, '-o', str(library)])
        os.replace(library, target)  # another process may load or build the same file
    for old in target.parent.glob('sparse_engine_*.so'):
        if old != target:
            old.unlink(missing_ok=True)
    return target


def _knows(compiler: str, flag: str, scratch: Path) -> bool:
    """Whether a compiler accepts a flag."""
    source = scratch / 'empty.cpp'
    source.touch()
    command = [compiler, flag, '-c', str(source), '-o', str(scratch / 'empty.o')]
    return subprocess.run(command, capture_output=True).returncode == 0


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        said = [line for line in result.stderr.splitlines() if 'error' in line] or ['no message']
        raise BuildError(
            f'the sparse engine does not compile with {command[0]} ({said[0].strip()[:200]}): use '
            'g++ 11 or newer, or name another compiler in the variable CXX'
        )


if __name__ == '__main__':
    try:
        sys.stdout.write(f'{build()}\n')
    except (BuildError, OSError) as error:
        sys.exit(f'error: {error}')
