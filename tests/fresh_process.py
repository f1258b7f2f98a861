"""Python processes in which mmptq is not imported yet, and other packages are.

Importing torch, mmdet and mmdet3d takes seconds. A server imports them once and each process is
a fork of it, so that the tools of all three packages run as a user starts them, but sooner.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ['mmdet.apis', 'mmdet3d.apis', 'spconv.pytorch']


def execute(command: list[str], env: dict[str, str], cwd: str, output: str) -> None:
    """Acts as ``python COMMAND``; standard output and error go to files of the folder output."""
    for name, descriptor in (('stdout', 1), ('stderr', 2)):
        with open(os.path.join(output, name), 'wb') as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    installed = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    first = '' if command[0] == '-c' else os.path.dirname(os.path.abspath(command[0]))
    paths = [path for path in env.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.path[:] = [first, *paths, *installed]
    already = [name for name in sys.modules if name.split('.')[0] == 'mmptq']
    assert not already, f'the process is not fresh: {already}'
    if command[0] == '-c':
        sys.argv = ['-c', *command[2:]]
        exec(compile(command[1], '<string>', 'exec'), {'__name__': '__main__'})
    else:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name='__main__')


def preload() -> multiprocessing.context.BaseContext:
    """The context whose processes are forks of one that has imported what takes long."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    return context


class FreshProcess:
    """A started ``python COMMAND``: a script with its arguments, or ``-c`` with code.

    Args:
        command: What follows ``python`` on the command line.
        env (dict): Variables that differ from those of the tests.
        cwd (Path): Folder to start in. Default: the root of the repository.
    """

    def __init__(self, *command, env: Mapping[str, str] | None = None, cwd: Path = ROOT):
        self.command = [str(argument) for argument in command]
        self._folder = TemporaryDirectory()
        context = preload()
        variables = {**os.environ, 'PYTHONPATH': str(ROOT), **(env or {})}
        arguments = (self.command, variables, str(cwd), self._folder.name)
        self.process = context.Process(target=execute, args=arguments)
        self.process.start()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.process.kill()

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.is_alive()

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess:
        """Waits for its end; the return code is negative where a signal ended it."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f'still running after {timeout} s: {self.command}')
        texts = [Path(self._folder.name, name).read_text() for name in ('stdout', 'stderr')]
        return subprocess.CompletedProcess(self.command, self.process.exitcode, *texts)


def run_fresh(*command, **options) -> subprocess.CompletedProcess:
    """Runs ``python COMMAND`` to its end, see :class:`FreshProcess`."""
    return FreshProcess(*command, **options).wait()
