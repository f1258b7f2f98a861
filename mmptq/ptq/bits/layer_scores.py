"""Output losses of single layers, kept in a file that later runs take."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.quantization import QScheme
from mmptq.utils.errors import QuantizationError
from mmptq.utils.files import write_json
from mmptq.utils.trees import tensors_in

SCORES_FILE = 'layer_scores.json'


@dataclass
class LayerScores:
    """The output loss of each layer when it alone is quantized, by what is quantized.

    Attributes:
        fingerprint (dict[str, str]): What the losses were measured on, see ``fingerprint_of``.
        losses (dict[str, dict[str, float]]): By layer, and by ``score_key``.
        estimated (dict[str, list[str]]): Keys whose losses lie between measured ones.
    """

    fingerprint: dict[str, str]
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    estimated: dict[str, list[str]] = field(default_factory=dict)

    def get(self, layer: str, key: str) -> float | None:
        """A loss, or None where it is not known."""
        return self.losses.get(layer, {}).get(key)

    def put(self, layer: str, losses: Mapping[str, float], estimated: list[str] = ()) -> None:
        """Keep losses of a layer by key."""
        self.losses.setdefault(layer, {}).update(losses)
        self.estimated.setdefault(layer, []).extend(estimated)

    def save(self, folder: Path) -> None:
        """Write the file, in the main process."""
        if parallel.is_main():
            write_json(vars(self), folder / SCORES_FILE)


def score_key(part: str, scheme: QScheme) -> str:
    """Name of the loss of one tensor on one grid, like ``weight uint4 asym per-channel``."""
    return f'{part} {scheme.describe()}'


def between(errors: Mapping[str, float], measured: Mapping[str, float]) -> dict[str, float]:
    """Losses of all widths from those of some: lines between them over the error of the tensor.

    Lines are in the logarithms; beyond the last measured width the loss is proportional to the
    squared error, as it is while errors are small.

    Args:
        errors (Mapping[str, float]): Squared error of the tensor, by key.
        measured (Mapping[str, float]): Losses by key; some of the same keys.
    """
    points = sorted((math.log(errors[k] + 1e-30), math.log(x + 1e-30)) for k, x in measured.items())
    losses = {}
    for key, error in errors.items():
        if key in measured:
            losses[key] = measured[key]
            continue
        x = math.log(error + 1e-30)
        left = max((point for point in points if point[0] <= x), default=points[0])
        right = min((point for point in points if point[0] >= x), default=points[-1])
        slope = 1.0 if left[0] == right[0] else (right[1] - left[1]) / (right[0] - left[0])
        losses[key] = math.exp(left[1] + slope * (x - left[0]))
    return losses


def open_scores(
    ctx: PTQContext, num_samples: int, path: str | Path | None, method: str = 'forwards'
) -> LayerScores:
    """Scores of an earlier run that fit this one, or empty ones.

    Args:
        ctx (PTQContext): Converted.
        num_samples (int): Samples that losses are measured on.
        path (str | Path, optional): The file of another run. None takes that of the work
            directory, if it fits.
        method (str): How losses are found, see ``METHODS`` of ``score_layers``.

    Raises:
        QuantizationError: If ``path`` cannot be read, or was measured on something else.
    """
    fingerprint = {**fingerprint_of(ctx, num_samples), 'method': method}
    empty = LayerScores(fingerprint)

    def read() -> LayerScores:
        source = Path(path) if path is not None else ctx.work_dir / SCORES_FILE
        try:
            content = json.loads(source.read_text())
            found, losses, estimated = (content[key] for key in vars(empty))
            for entry in losses.values():
                entry.update((key, math.inf if x is None else float(x)) for key, x in entry.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if path is None:
                return empty
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
        return empty if changed else LayerScores(fingerprint, losses, estimated)

    return parallel.on_main(read)


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
    digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
    flat = _flat(tensor).view(torch.uint8)
    digest.update(flat.cpu().numpy().data)


def _flat(tensor: Tensor) -> Tensor:
    """A copy with one axis; an expanded tensor of one value has a stride that no view takes."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).view(-1)
