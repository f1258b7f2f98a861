"""What the stages of a PTQ run share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from rich.progress import track
from torch import nn

from mmptq.ptq import parallel
from mmptq.ptq.inputs.model_inputs import (
    device_of,
    is_detector,
    prepare_batch,
    run_model,
    sample_name,
)
from mmptq.quantization import QuantizationError, QuantPlan, quantized_layers
from mmptq.quantization.limits import SchemeLimits
from mmptq.utils.messages import first_line

from .calibration_data import select
from .layer_state import LayerState
from .resume import ResumeStore
from .run_record import RUN_FILE, RunRecord


@dataclass
class PTQContext:
    """The state of a PTQ run; stages read and write it and know nothing of each other.

    Attributes:
        model (nn.Module): The model, in eval mode; quantized in place.
        loader (Iterable): Calibration batches with a length, the same ones in the same order on
            every pass.
        work_dir (Path): Where stages write what they want to keep.
        seed (int): For every random choice of a stage.
        plan (QuantPlan): What was folded and quantized.
        layers (dict[str, LayerState]): Settings of the quantized layers by name.
        resume (ResumeStore, optional): Where stages keep finished pieces of work.
        limits (SchemeLimits, optional): What of a backend the plan has to obey.
        evaluator (Callable, optional): Takes a number of batches or None, returns metrics.
        stage (str, optional): Number and name of the stage that runs, like '1-Reconstructor'.
        checks (list[dict]): Seconds that each check of the run took.
        float_metrics (dict, optional): Metrics of the float model, where it was evaluated.
        quantized_metrics (dict, optional): Those of the model as the last stage left it, where
            that stage evaluated it.
        run_record (RunRecord): Writes ``run.json`` in the work directory.
    """

    model: nn.Module
    loader: Iterable[Any]
    work_dir: Path
    seed: int
    plan: QuantPlan = field(default_factory=QuantPlan)
    layers: dict[str, LayerState] = field(default_factory=dict)
    resume: ResumeStore | None = None
    limits: SchemeLimits | None = None
    evaluator: Callable[[int | None], dict[str, float]] | None = None
    stage: str | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    float_metrics: dict[str, Any] | None = None
    quantized_metrics: dict[str, Any] | None = None
    run_record: RunRecord = field(init=False)

    def __post_init__(self):
        path = Path(self.work_dir) / RUN_FILE
        self.run_record = RunRecord(path, self.seed, device_of(self.model))

    def make_layer_states(self) -> None:
        """A LayerState per quantized layer, with default settings."""
        self.layers = {
            name: LayerState(name, layer) for name, layer in quantized_layers(self.model).items()
        }

    @property
    def logger(self) -> MMLogger:
        """Logger of the run."""
        return MMLogger.get_current_instance()

    def record(self, kind: str, rows: Any) -> None:
        """Keep rows under a kind in ``run.json``, for the stage that runs.

        Args:
            kind (str): What the rows are about, like 'reconstruction'.
            rows (Any): Nested dicts and lists of numbers and texts.
        """
        self.run_record.add(kind, rows, self.stage)

    def record_all(self, records: dict[str, Any]) -> None:
        """Keep rows under several kinds."""
        for kind, rows in records.items():
            self.record(kind, rows)

    def evaluate(self, num_batches: int | None = None) -> dict[str, float]:
        """Metrics of the model as it is now, on the evaluation data.

        Args:
            num_batches (int, optional): Only the first ones. Defaults to all.

        Raises:
            QuantizationError: If the run has no evaluation data.
        """
        if self.evaluator is None:
            raise QuantizationError(
                'this run cannot evaluate the model: start it with tools/ptq.py and a config that '
                'has val_dataloader and val_evaluator'
            )
        if num_batches is not None and num_batches < 1:
            raise QuantizationError(f'num_batches={num_batches!r} must be at least 1')
        return self.evaluator(num_batches)

    def batches(self, description: str, count: int | None = None) -> Iterator[Any]:
        """This process's share of the calibration batches, with a progress bar.

        Of n processes the first takes the batches 0, n, 2 n and so on. What is found on them has
        to be combined over the processes, see ``mmptq.ptq.parallel``.

        Args:
            description (str): Shown beside the bar.
            count (int, optional): So many at most, of all processes, evenly spread; the others are
                not even read. Defaults to all.

        Returns:
            Iterator: Batches as the model's forward takes them.
        """
        return self._read(parallel.shard(self.positions(count)), description)

    def _read(self, positions: list[int], description: str) -> Iterator[Any]:
        loader, hidden = select(self.loader, positions), not parallel.is_main()
        for batch in track(loader, description, total=len(positions), disable=hidden):
            yield self._prepare(batch)

    def positions(self, count: int | None = None) -> list[int]:
        """Positions in the loader of the batches that ``batches`` gives in all processes."""
        total = len(self.loader)
        count = total if count is None else min(count, total)
        return [index * total // count for index in range(count)]

    def first_batch(self) -> Any:
        """The first calibration batch, the same in all processes."""
        return self._prepare(next(iter(self.loader)))

    def batches_at(self, indices: Iterable[int]) -> Iterator[Any]:
        """Calibration batches at these positions, in order, the same in all processes."""
        return map(self._prepare, select(self.loader, sorted(set(indices))))

    def _prepare(self, batch: Any) -> Any:
        if isinstance(batch, str):  # the sentence of a sample that cannot be read
            raise QuantizationError(batch)
        return prepare_batch(self.model, batch)

    @torch.no_grad()
    def predict(self, data: Any) -> Any:
        """Run the model: a detector as the test loop does.

        Raises:
            QuantizationError: If the model cannot run this batch.
        """
        try:
            return run_model(self.model, data)
        except (torch.OutOfMemoryError, QuantizationError):
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            # Code of any model, and what it finds in a sample.
            name = f'sample {sample_name(data)}' if is_detector(self.model) else 'a batch'
            raise QuantizationError(
                f'the model cannot run {name} of the calibration data ({first_line(error)}): leave '
                'it out, or give inputs like the others'
            ) from error
