"""A file in its engine, beside the model that it was made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmptq.deploy.engines import Engine, SimulationEngine, find_engine, run_engine
from mmptq.quantization import QuantizationError
from mmptq.report import format_table
from mmptq.utils.messages import first_line

from .file_form import OPEN, FileForm, stacked
from .parity import (
    MIN_DECIBEL,
    Parity,
    check_parity,
    measure_parity,
    parity_rows,
    warn_of_kernels,
)
from .rounding import open_nudged


@dataclass
class EngineCheck:
    """Compares files with the subgraph of a detector.

    Args:
        subgraph (nn.Module): In eval mode.
        engine (str): Name in ``ENGINES``.
        form (FileForm): What the file takes.
        inputs (list[Tensor]): Inputs of the network, in batches that the file takes.
        least (float): Smallest signal-to-noise that is accepted, in dB.
    """

    subgraph: nn.Module
    engine: str
    form: FileForm
    inputs: list[Tensor]
    least: float = MIN_DECIBEL

    @property
    def name(self) -> str:
        """Name of the engine that checks."""
        engine = find_engine(self.engine)
        return self.engine if engine.available() or not engine.optional_at_export else 'simulation'

    def open(self, file: Path) -> Engine:
        """The file in its engine.

        Raises:
            QuantizationError: If it is not installed, and a file must not be written without it.
        """
        engine = find_engine(self.name)
        engine.require()
        return engine(file)

    def check(self, file: Path) -> list[dict[str, Any]]:
        """Compare a file of head outputs with the model; returns the parity table.

        Raises:
            QuantizationError: If an output is further away than rounding explains.
        """
        logger = MMLogger.get_current_instance()
        if self.name != self.engine:
            logger.warning(
                f"'{self.engine}' is not installed: the file is checked in float arithmetic only"
            )
        engine = self.open(file)
        results = self._measure(engine, file, self.inputs, open_nudged(file))
        rows = parity_rows(results)
        integer, floating = engine.count_layers()
        logger.info(
            f'{self.name}: {integer} layers run in integers, {floating} in float\n'
            f'{format_table(rows)}'
        )
        check_parity(results, self.name, self.least)
        warn_of_kernels(results, self.name)
        return rows

    def takes_two_images(self, file: Path) -> bool:
        """Whether a file with an open batch computes the same for two images at a time.

        Raises:
            QuantizationError: If it does not, and an open batch was asked for.
        """
        pair = stacked(self.inputs, 2)[0].clone()
        pair[1] = pair[1].flip(2)  # other values, where one sample stands for both
        problem = self._problem(file, pair)
        if problem and self.form.batch == OPEN:
            raise QuantizationError(
                f'--batch {OPEN}: two images at a time fail ({problem}): fix the number of images '
                'with --batch N'
            )
        if problem:
            MMLogger.get_current_instance().warning(
                f'the file takes one image, because two at a time fail ({problem}): --batch N '
                'makes one for N images'
            )
        return not problem

    def takes_other_sizes(self, file: Path) -> bool:
        """Whether a file with an open input size computes the same for another size."""
        x = self.inputs[0]
        problem = self._problem(file, interpolate(x, other_size(x)))
        if problem:
            MMLogger.get_current_instance().warning(
                f'the file has the fixed input size of the first sample, because another one '
                f'fails ({problem})'
            )
        return not problem

    def _problem(self, file: Path, x: Tensor) -> str:
        """What is wrong with a file for an input; '' where nothing is."""
        try:
            check_parity(self._measure(self.open(file), file, [x]), self.name, self.least)
        except Exception as error:  # of the model, of the engine, or by the numbers
            return first_line(error)
        return ''

    def _measure(
        self, engine: Engine, file: Path, inputs: list[Tensor], nudged: Engine | None = None
    ) -> list[Parity]:
        simulation = SimulationEngine(file)
        return measure_parity(engine, simulation, self.subgraph, inputs, self.form.raw, nudged)

    def outputs(self, file: Path, simulated: bool = False) -> list[list[Tensor]]:
        """Outputs of a file for each input of the network.

        Args:
            file (Path): The file.
            simulated (bool): Whether its operators compute in float arithmetic. Defaults to False:
                the engine computes them.
        """
        engine, raw = SimulationEngine(file) if simulated else self.open(file), self.form.raw
        images = [x if raw is None else raw.denormalize(x) for x in self.inputs]
        return [
            [torch.as_tensor(y, device=x.device) for y in run_engine(engine, x.cpu().numpy())]
            for x in images
        ]


def other_size(x: Tensor) -> list[int]:
    """Another height and width than those of an input (B, C, H, W), which networks take."""
    return [-(-end // 128) * 64 if end > 128 else end + 64 for end in x.shape[2:]]
