"""What the stages of a PTQ run share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from mmptq.quantization import QuantizationError, QuantPlan, quantized_layers
from mmptq.utils.trees import tensors_in

from .layer_state import LayerState
from .resume import ResumeStore


@dataclass
class PTQContext:
    """The state of a PTQ run; stages read and write it and know nothing of each other.

    Attributes:
        model (nn.Module): The detector, in eval mode; quantized in place.
        loader (DataLoader): Calibration batches, the same ones in the same order on every pass.
        work_dir (Path): Where stages write what they want to keep.
        seed (int): For every random choice of a stage.
        plan (QuantPlan): What was folded and quantized.
        layers (dict[str, LayerState]): Settings of the quantized layers by name.
        resume (ResumeStore, optional): Where stages keep finished pieces of work.
    """

    model: nn.Module
    loader: DataLoader
    work_dir: Path
    seed: int
    plan: QuantPlan = field(default_factory=QuantPlan)
    layers: dict[str, LayerState] = field(default_factory=dict)
    resume: ResumeStore | None = None

    def make_layer_states(self) -> None:
        """A LayerState per quantized layer, with default settings."""
        self.layers = {
            name: LayerState(name, layer) for name, layer in quantized_layers(self.model).items()
        }

    @property
    def logger(self) -> MMLogger:
        """Logger of the run."""
        return MMLogger.get_current_instance()

    def batches(self, description: str, count: int | None = None) -> Iterator[dict[str, Any]]:
        """Calibration batches as the model's forward takes them, with a progress bar.

        Args:
            description (str): Shown beside the bar.
            count (int, optional): So many at most, evenly spread. Defaults to all.
        """
        total = len(self.loader)
        count = total if count is None else min(count, total)
        chosen = {index * total // count for index in range(count)}
        for index, batch in enumerate(track(self.loader, description, total=total)):
            if index in chosen:
                yield self._prepare(batch)

    def first_batch(self) -> dict[str, Any]:
        """The first calibration batch, as the model's forward takes it."""
        return self._prepare(next(iter(self.loader)))

    def _prepare(self, batch: dict[str, Any] | str) -> dict[str, Any]:
        if isinstance(batch, str):
            raise QuantizationError(batch)
        data = self.model.data_preprocessor(batch, False)
        check_inputs(data)
        return data

    @torch.no_grad()
    def predict(self, data: dict[str, Any]) -> Any:
        """Run the detector as the test loop does."""
        return self.model(**data, mode='predict')


def check_inputs(data: dict[str, Any]) -> None:
    """Raise where an input tensor is empty or not finite, naming the sample's file."""
    for x in tensors_in(data['inputs']):
        if x.numel() == 0:
            raise QuantizationError(
                f'calibration sample {sample_name(data)} is empty: remove it from the train split'
            )
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise QuantizationError(
                f'calibration sample {sample_name(data)} contains NaN or Inf: repair the file or '
                'remove it from the train split'
            )


def sample_name(data: dict[str, Any]) -> str:
    """File of the first sample of a batch, as its data sample knows it."""
    samples = data.get('data_samples') or [None]
    for key in ('lidar_path', 'img_path', 'sample_idx', 'img_id'):
        value = getattr(samples[0], key, None)
        if value is not None:
            return f"'{value}'"
    return 'without a file name'
