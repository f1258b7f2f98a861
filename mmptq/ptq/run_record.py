"""What a PTQ run did, in one file that is complete at every moment."""

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size

from mmptq.ptq import parallel
from mmptq.utils.files import write_json
from mmptq.version import __version__

RUN_FILE = 'run.json'
PACKAGES = ('torch', 'mmengine', 'mmdet', 'mmdet3d', 'mmcv')


class RunRecord:
    """Collects records and timings, and writes ``run.json`` again after each of them.

    The file holds ``version``, ``command``, ``environment``, ``seed``, ``stages`` (name and seconds
    of each finished stage) and ``records``, each with its ``kind``, the ``stage`` that made it
    (null for the run itself) and ``rows``.

    Args:
        path (Path): The file; made with the first record.
        seed (int): Seed of the run.
        device (torch.device): Where the model is.
    """

    def __init__(self, path: str | Path, seed: int, device: torch.device):
        self.path = Path(path)
        self.seed = seed
        self.device = device
        self.stages: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []

    def add(self, kind: str, rows: Any, stage: str | None) -> None:
        """Add a record; an earlier one of the same kind and stage is replaced.

        Args:
            kind (str): What the rows are about.
            rows (Any): Nested dicts and lists of numbers and texts.
            stage (str, optional): Name of the stage that made it.
        """
        record = dict(kind=kind, stage=stage, rows=rows)
        for index, old in enumerate(self.records):
            if (old['kind'], old['stage']) == (kind, stage):
                self.records[index] = record
                break
        else:
            self.records.append(record)
        self.write()

    def add_stage(self, name: str, seconds: float) -> None:
        """Note that a stage is finished."""
        self.stages.append(dict(stage=name, seconds=seconds))
        self.write()

    def write(self) -> None:
        """Write everything so far, in the main process."""
        if not parallel.is_main():
            return
        write_json(self.content(), self.path)

    def content(self) -> dict[str, Any]:
        """What the file holds."""
        return dict(
            version=__version__,
            command=command(),
            environment=environment(self.device),
            seed=self.seed,
            stages=self.stages,
            records=self.records,
        )


def command() -> str:
    """The command line of this process, as it can be typed again."""
    program = ['python'] if sys.argv[0].endswith('.py') else []
    return shlex.join([*program, *sys.argv])


def environment(device: torch.device) -> dict[str, Any]:
    """Versions of packages (None where not installed), platform, device, number of threads."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.machine()
    versions = package_versions()
    versions.pop('mmptq')  # has its own place in the file
    return dict(
        versions,
        python=platform.python_version(),
        platform=platform.platform(),
        device=f'{device} ({name})',
        threads=torch.get_num_threads(),
        processes=get_world_size(),
    )


def package_versions() -> dict[str, str | None]:
    """Versions of mmptq and of the packages that decide its results; None if not installed."""
    return {'mmptq': __version__, **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
