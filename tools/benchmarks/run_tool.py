"""Starts another tool in a process of its own."""

import subprocess
import sys
from pathlib import Path

from mmptq.quantization import QuantizationError

TOOLS = Path(__file__).resolve().parents[1]


class ToolError(QuantizationError):
    """A tool that failed.

    Attributes:
        last_line (str): Last line of its output.
    """

    def __init__(self, command: list[str], said: str):
        self.last_line = (said.strip() or 'no output').splitlines()[-1]
        super().__init__(f'{" ".join(command)} failed:\n{said[-2000:]}')


def run_tool(name: str, *arguments: object, log: Path | None = None) -> None:
    """Run ``tools/NAME.py`` and wait for it.

    Args:
        name (str): Without folder and suffix.
        arguments (object): Its command line.
        log (Path, optional): File for its output; default: output is discarded.

    Raises:
        ToolError: If it fails; holds the end of its output.
    """
    (path,) = TOOLS.rglob(f'{name}.py')
    command = [sys.executable, str(path), *map(str, arguments)]
    if log is None:
        finished = subprocess.run(command, capture_output=True, text=True)
    else:
        with open(log, 'w') as file:  # can be read while the tool runs
            finished = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if finished.returncode:
        raise ToolError(command, log.read_text() if log else finished.stderr)
