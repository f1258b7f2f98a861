"""Whether an engine computes the simulated outputs: signal-to-noise per output."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.deploy.engines import Engine, run_engine
from mmptq.quantization import QuantizationError

from .raw_images import RawImages

# A wrong kernel gives about 0 to 12 dB. Correct ones round some activations to another level: 30 to
# 50 dB are left after the last layer, and 20 in networks that amplify small differences.
MIN_DECIBEL = 15.0
# Two correct kernels differ less than this; in small networks no value may fall to another level.
ROUNDING_DECIBEL = 45.0
KERNEL_DECIBEL = 6.0


@dataclass
class Parity:
    """Signal-to-noise of one output of the engine, in dB.

    Attributes:
        output (str): Its name.
        file_db (float): Against the file's own operators in float arithmetic: the engine's error.
        model_db (float): Against the simulated model: this includes the quantizers that the
            backend wants besides those of the model.
        rounding_db (float): Of the file's operators in float arithmetic, where weight scales differ
            by one part in a million, see ``nudged``. An engine whose ``file_db`` is as large is as
            exact as it can be.
        pairs_db (float): Of the file's operators in float arithmetic, against the simulated model:
            what the quantizers that the backend wants leave.
    """

    output: str
    file_db: float
    model_db: float
    rounding_db: float = 200.0
    pairs_db: float = 200.0


class SignalToNoise:
    """Signal-to-noise of a value against a reference, over many samples."""

    def __init__(self):
        self.signal = 0.0
        self.noise = 0.0

    def update(self, reference: np.ndarray, value: np.ndarray) -> None:
        """Take in one sample; NaN counts as infinite noise."""
        if reference.shape != value.shape:
            raise QuantizationError(
                f'the engine gives an output of shape {value.shape} and the model one of '
                f'{reference.shape}: export with an open or another input size'
            )
        reference, value = (array.astype(np.float64) for array in (reference, value))
        self.signal += float(np.square(reference).sum())
        noise = float(np.square(reference - value).sum())
        self.noise += noise if math.isfinite(noise) else math.inf

    @property
    def decibel(self) -> float:
        """10 log10 of signal over noise; 200 at most."""
        if math.isinf(self.noise):
            return -math.inf
        if self.noise <= 1e-20 * self.signal:
            return 200.0
        return 10 * math.log10(max(self.signal, 1e-30) / self.noise)


@torch.no_grad()
def measure_parity(
    engine: Engine,
    simulation: Engine,
    subgraph: nn.Module,
    inputs: list[Tensor],
    raw: RawImages | None = None,
    nudged: Engine | None = None,
) -> list[Parity]:
    """Run samples through the engine, the file in float arithmetic, and the model.

    Args:
        engine (Engine): The file in its engine.
        simulation (Engine): The file in float arithmetic.
        subgraph (nn.Module): The simulated model, see ``ExportedSubgraph``.
        inputs (list[Tensor]): Its inputs.
        raw (RawImages, optional): What the file does to images before. Defaults to None.
        nudged (Engine, optional): The file as ``simulation``, with scales that differ a little.
            Defaults to None: what rounding alone does is not measured.
    """
    names = engine.output_names
    meters = [[SignalToNoise() for _ in names] for _ in range(4)]
    for x in inputs:
        image = x.detach()
        if raw is not None:
            image = raw.denormalize(image)
            x = raw.normalize(image).to(x.device)
        array = image.cpu().numpy()
        values, of_file = run_engine(engine, array), run_engine(simulation, array)
        of_model = [reference.detach().cpu().numpy() for reference in subgraph(x)]
        moved = of_file if nudged is None else run_engine(nudged, array)
        pairs = (of_file, values), (of_model, values), (of_file, moved), (of_model, of_file)
        for row, (references, found) in zip(meters, pairs, strict=True):
            for meter, reference, value in zip(row, references, found, strict=True):
                meter.update(reference, value)
    columns = ([meter.decibel for meter in row] for row in meters)
    return [Parity(*row) for row in zip(names, *columns, strict=True)]


def parity_rows(results: list[Parity]) -> list[dict[str, Any]]:
    """Rows of the table that is shown and stored."""
    return [
        {
            'output': result.output,
            'engine against file (dB)': round(result.file_db, 1),
            'rounding alone (dB)': round(result.rounding_db, 1),
            'file against model (dB)': round(result.pairs_db, 1),
            'engine against model (dB)': round(result.model_db, 1),
        }
        for result in results
    ]


def check_parity(results: list[Parity], engine: str, least: float = MIN_DECIBEL) -> None:
    """Raise where an output is further from its reference than rounding explains.

    Args:
        results (list[Parity]): From ``measure_parity``.
        engine (str): For the message.
        least (float): Smallest signal-to-noise that is accepted, in dB.
    """
    for result in results:
        for reference, value in (
            ('the operators of the file', result.file_db),
            ('the simulated model', result.model_db),
        ):
            if value < least:
                raise QuantizationError(
                    f"{engine} computes '{result.output}' with {value:.1f} dB against {reference}, "
                    f'at least {least:g} dB are expected: nothing is written; try another '
                    'backend, keep layers float (--float-outputs), or accept less with --min-db'
                )


def warn_of_kernels(results: list[Parity], engine: str) -> None:
    """Say which output an engine computes less exactly than rounding explains.

    Args:
        results (list[Parity]): From ``measure_parity``, with ``rounding_db``.
        engine (str): For the message.
    """
    worst = max(results, key=lambda result: _shortfall(result), default=None)
    if worst is not None and _shortfall(worst) > KERNEL_DECIBEL:
        MMLogger.get_current_instance().warning(
            f"{engine} computes '{worst.output}' with {worst.file_db:.1f} dB against the operators "
            f'of the file, and rounding explains {worst.rounding_db:.1f} dB: one of its kernels '
            'may compute something else; compare the metric of the file in the engine with that '
            'of tools/test.py --engine simulation'
        )


def _shortfall(result: Parity) -> float:
    return min(result.rounding_db, ROUNDING_DECIBEL) - result.file_db
