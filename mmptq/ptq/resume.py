"""What a run has finished, kept so that a run that was killed can go on."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmptq.quantization import QuantizationError
from mmptq.utils.files import complete_file, write_json

FINGERPRINT = 'fingerprint.json'


class ResumeStore:
    """Results of finished pieces of work under names, one file each, written all or nothing.

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
        path = self.directory / FINGERPRINT
        if resume and path.is_file():
            _compare(path, fingerprint)
            return
        self.clear()
        write_json(fingerprint, path)

    def load(self, name: str) -> dict[str, Any] | None:
        """Tensors and plain data saved under a name by the same stage, or None."""
        path = self._path(name)
        return torch.load(path, map_location='cpu', weights_only=True) if path.is_file() else None

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Keep tensors and plain data under a name."""
        with complete_file(self._path(name)) as temporary:
            torch.save(state, temporary)

    def clear(self) -> None:
        """Remove everything: the run is complete, or starts anew."""
        shutil.rmtree(self.directory, ignore_errors=True)

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
