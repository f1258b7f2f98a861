"""What a run has finished, kept so that a run that was killed can go on."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmptq.ptq import parallel
from mmptq.quantization import QuantizationError
from mmptq.utils.files import complete_file, write_json

FINGERPRINT = 'fingerprint.json'


class ResumeStore:
    """Results of finished pieces of work under names, one file each, written all or nothing.

    Only the main process touches the files; all processes get what it reads.

    Args:
        directory (Path): Where the files are; emptied at the start unless ``resume``.
        fingerprint (dict[str, str]): Texts that tell one run from another, by what they are about.
        resume (bool): Whether results of an earlier run are used.

    Raises:
        QuantizationError: If the earlier run was of another config or model.
    """

    def __init__(self, directory: str | Path, fingerprint: dict[str, str], resume: bool):
        self.directory = Path(directory)
        self.stage = ''
        parallel.on_main(lambda: self._open(fingerprint, resume))

    def load(self, name: str) -> dict[str, Any] | None:
        """Tensors and plain data saved under a name by the same stage, or None."""
        return parallel.on_main(lambda: self._read(self._path(name)))

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Keep tensors and plain data under a name."""
        if not parallel.is_main():
            return
        with complete_file(self._path(name)) as temporary:
            torch.save(state, temporary)

    def clear(self) -> None:
        """Remove everything: the run is complete, or starts anew."""
        if parallel.is_main():
            shutil.rmtree(self.directory, ignore_errors=True)

    def _open(self, fingerprint: dict[str, str], resume: bool) -> None:
        path = self.directory / FINGERPRINT
        if resume and path.is_file():
            _compare(path, fingerprint)
            return
        if resume:
            MMLogger.get_current_instance().warning(
                f"--resume: '{self.directory}' holds no state of an earlier run, so this one "
                'starts at the beginning'
            )
        self.clear()
        write_json(fingerprint, path)

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        return torch.load(path, map_location='cpu', weights_only=True)

    def _path(self, name: str) -> Path:
        return self.directory / f'{self.stage}-{name or "network"}.pth'


def _compare(path: Path, fingerprint: dict[str, str]) -> None:
    try:
        earlier = json.loads(path.read_text())
    except ValueError:
        earlier = {}
    changed = [key for key, value in fingerprint.items() if earlier.get(key) != value]
    if changed:
        raise QuantizationError(
            f"'{path.parent}' holds the state of a run with another {changed[0]}: run without "
            '--resume, or choose another --work-dir'
        )


def state_dict_sha256(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers of a model."""
    result = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        result.update(name.encode())
        result.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()
