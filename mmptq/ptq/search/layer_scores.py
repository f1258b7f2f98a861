"""Output losses of single layers, kept in a file that later runs take."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.quantization import QScheme
from mmptq.utils.errors import QuantizationError
from mmptq.utils.files import write_json
from mmptq.utils.trees import tensors_in

SCORES_FILE = 'layer_scores.json'
PARTS = ('weight', 'input')


@dataclass
class LayerScores:
    """The output loss of each layer when it alone is quantized, by what is quantized.

    Attributes:
        fingerprint (dict[str, str]): What the losses were measured on, see ``fingerprint_of``.
        losses (dict[str, dict[str, float]]): By layer, and by ``score_key``.
    """

    fingerprint: dict[str, str]
    losses: dict[str, dict[str, float]] = field(default_factory=dict)

    def get(self, layer: str, key: str) -> float | None:
        """A loss, or None where it was not measured."""
        return self.losses.get(layer, {}).get(key)

    def put(self, layer: str, losses: dict[str, float]) -> None:
        """Keep losses of a layer by key."""
        self.losses.setdefault(layer, {}).update(losses)

    def save(self, folder: Path) -> None:
        """Write the file, in the main process."""
        if parallel.is_main():
            content = dict(fingerprint=self.fingerprint, losses=self.losses)
            write_json(content, folder / SCORES_FILE)


def score_key(part: str, scheme: QScheme) -> str:
    """Name of the loss of one tensor on one grid, like ``weight uint4 asym per-channel``."""
    return f'{part} {scheme.describe()}'


def open_scores(ctx: PTQContext, num_samples: int, path: str | Path | None) -> LayerScores:
    """Scores of an earlier run that fit this one, or empty ones.

    Args:
        ctx (PTQContext): Converted.
        num_samples (int): Samples that losses are measured on.
        path (str | Path, optional): The file of another run. None takes that of the work
            directory, if it fits.

    Raises:
        QuantizationError: If ``path`` cannot be read, or was measured on something else.
    """
    fingerprint = fingerprint_of(ctx, num_samples)

    def read() -> dict[str, Any]:
        source = Path(path) if path is not None else ctx.work_dir / SCORES_FILE
        try:
            content = json.loads(source.read_text())
            found = content['fingerprint']
            losses = {
                layer: {key: float('inf') if x is None else float(x) for key, x in entry.items()}
                for layer, entry in content['losses'].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if path is None:
                return {}
            raise QuantizationError(
                f"scores '{path}' cannot be read ({type(error).__name__}: {error}): name the "
                f'{SCORES_FILE} of a run with --average-bits, --size, --bit-ops or --max-drop'
            ) from error
        changed = [key for key, value in fingerprint.items() if found.get(key) != value]
        if changed and path is not None:
            raise QuantizationError(
                f"scores '{path}' were measured with other {changed[0]}: leave out --scores, so "
                'that they are measured again'
            )
        return {} if changed else losses

    return LayerScores(fingerprint, parallel.on_main(read))


def fingerprint_of(ctx: PTQContext, num_samples: int) -> dict[str, str]:
    """What scores depend on: the float weights, BatchNorms folded, and the samples."""
    weights = hashlib.sha256()
    for name, tensor in ctx.model.state_dict().items():
        if '_quantizer.' not in name:
            weights.update(name.encode())
            _add(weights, tensor)
    own = []
    for data in ctx.batches('read samples', num_samples):
        sample = hashlib.sha256()
        for tensor in tensors_in(data):
            _add(sample, tensor)
        own.append(sample.hexdigest())
    samples = hashlib.sha256(' '.join(parallel.gather_shards(own)).encode())
    return {'float weights': weights.hexdigest(), 'calibration samples': samples.hexdigest()}


def _add(digest: Any, tensor: Tensor) -> None:
    content = tensor.detach().cpu().contiguous().view(-1)
    digest.update(str(tuple(tensor.shape)).encode())
    digest.update(content.numpy().tobytes())
