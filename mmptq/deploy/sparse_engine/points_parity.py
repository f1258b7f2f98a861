"""Whether the engine makes the voxels and features that a detector makes of its points."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.hooks import temporary_hooks

from .parity import LayerParity, relative_difference
from .point_features import PointFeatures

# Of the largest feature. The detector adds in another order and does not fold its BatchNorm.
MOST_DIFFERENT = 1e-4


@contextmanager
def recorded_scans(detector: nn.Module, encoder: nn.Module, most: int = 2) -> Iterator[list[dict]]:
    """Within this context the list gets the first batches: ``points``, ``features``, ``coords``.

    Args:
        detector (nn.Module): Of mmdet3d.
        encoder (nn.Module): Its middle encoder.
        most (int): Batches to record.
    """
    scans: list[dict] = []

    def note_points(_module: nn.Module, _args: tuple, output: Any) -> None:
        if len(scans) == most:
            stack.close()
            return
        inputs = output.get('inputs') if isinstance(output, dict) else None
        if isinstance(inputs, dict) and 'points' in inputs:
            scans.append(dict(points=[_array(scan) for scan in inputs['points']]))

    def note_features(_: nn.Module, args: tuple) -> None:
        if scans and 'features' not in scans[-1]:
            scans[-1].update(features=_array(args[0]), coords=_array(args[1]))

    with ExitStack() as stack:
        after = {detector.data_preprocessor: note_points}
        stack.enter_context(temporary_hooks({encoder: note_features}, after))
        yield scans


def check_points(points: PointFeatures, scans: list[dict], name: str) -> LayerParity:
    """Compare voxels and their features with those of the detector.

    Args:
        points (PointFeatures): The engine.
        scans (list[dict]): From ``recorded_scans``.
        name (str): Of the encoder, for the table.

    Raises:
        QuantizationError: If they differ by more than the order of additions explains.
    """
    result = LayerParity(name)
    for scan in scans:
        if 'features' not in scan:
            continue
        features, coords = points(scan['points'])
        # A batch that ends in an empty scan has one more voxel, outside of the grid.
        kept = scan['coords'][:, 1] >= 0
        expected, there = scan['features'][kept], scan['coords'][kept]
        if not np.array_equal(coords, there):
            raise QuantizationError(
                'the engine makes other voxels of the points than the detector; nothing is '
                'written: leave the encoder in PyTorch with --sparse-in-pytorch'
            )
        result.update(relative_difference(features, expected))
        largest = float(np.abs(expected).max(initial=0))
        worst = float(np.abs(features - expected).max(initial=0))
        if worst > MOST_DIFFERENT * max(largest, 1e-30):
            raise QuantizationError(
                f'the engine makes features of voxels that differ by {worst:.3g} from those of the '
                f'detector, whose largest is {largest:.3g}; nothing is written: leave the encoder '
                'in PyTorch with --sparse-in-pytorch'
            )
    return result


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
