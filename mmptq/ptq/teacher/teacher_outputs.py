"""The float model's outputs on the calibration samples, and a task loss that compares with them."""

from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.adapters import Adapter
from mmptq.losses import TaskLoss
from mmptq.ptq import parallel
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.quantization import quantizers_off
from mmptq.utils.errors import QuantizationError

from .packing import pack, unpack


class TeacherOutputs:
    """A task loss with its target on every calibration sample, kept under a memory budget.

    In a run of several processes the samples, and everything here, are those of this process.

    Targets come from the very samples that the loss is computed on, so that the float model
    has no distance from itself. They keep their precision; beyond the budget they go to a file.
    ``prepare`` of the loss is called at the end of the construction.

    Args:
        model (nn.Module): The detector, with its float weights.
        adapter (Adapter): Adapter of the model.
        loss (TaskLoss): The loss.
        samples (ActivationCache): Batches as the model's forward takes them, stored exactly.
        budget_bytes (int): Memory for the targets.
        required (bool): Whether learning depends on this loss alone. Defaults to False.

    Attributes:
        found (list[int]): Indices of the samples that have a target.
        everywhere (list[int]): The same in the samples of all processes together.
        counts (list[int]): How many each process has found.

    Raises:
        QuantizationError: If the float model gives no target on any sample and the loss is
            required.
    """

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        loss: TaskLoss,
        samples: ActivationCache,
        budget_bytes: int,
        required: bool = False,
    ):
        self.model, self.adapter, self.samples = model, adapter, samples
        self.loss = loss.eval()
        loss.check(adapter)
        self._targets = ActivationCache(budget_bytes, samples.directory)
        self._last: tuple[int, Any] = (-1, None)  # searches try many settings on one sample
        self.found = [index for index in range(len(samples)) if self._make_target(index)]
        self._places = {index: place for place, index in enumerate(self.found)}
        parts = parallel.gather(parallel.shard_indices(self.found))
        self.everywhere = sorted(index for part in parts for index in part)
        self.counts = [len(part) for part in parts]
        self._report_missing(required)
        loss.prepare(self)
        parallel.check_same(loss, f'buffers of {type(loss).__name__}')

    def _make_target(self, index: int) -> bool:
        if not self.loss.needs_target:
            return True
        with torch.no_grad():
            target = self.loss.make_target(self.adapter, self.float_raw(index), self.data(index))
        if target is not None:
            self._targets.append(pack(target), exact=True)
        return target is not None

    def _report_missing(self, required: bool) -> None:
        total, found = sum(parallel.gather(len(self))), len(self.everywhere)
        if found == total:
            return
        text = (
            f'the float model gives {type(self.loss).__name__} no target in {total - found} of '
            f'{total} calibration samples'
        )
        hint = self.loss.missing_hint
        if required and not found:
            raise QuantizationError(f'{text}: {hint}')
        MMLogger.get_current_instance().warning(f'{text}, this loss ignores them: {hint}')

    def __len__(self) -> int:
        return len(self.samples)

    def __enter__(self) -> 'TeacherOutputs':
        return self

    def __exit__(self, *_) -> None:
        self._targets.close()

    @property
    def used_bytes(self) -> int:
        """Memory that the targets take."""
        return self._targets.used_bytes

    def data(self, index: int) -> dict[str, Any]:
        """A sample as the model's forward takes it."""
        return self.samples[index]

    def target(self, index: int) -> Any:
        """Target of a sample; None where there is none, or the loss needs none."""
        if index not in self._places or not self.loss.needs_target:
            return None
        if self._last[0] != index:
            self._last = index, unpack(self._targets[self._places[index]])
        return self._last[1]

    def raw_outputs(self, index: int) -> Any:
        """Raw outputs of the model in its present state."""
        return self.adapter.raw_outputs(self.data(index))

    def float_raw(self, index: int) -> Any:
        """Raw outputs of the float model."""
        with torch.no_grad(), quantizers_off(self.model):
            return self.raw_outputs(index)

    def mean_over_samples(self, own: list[Tensor]) -> Tensor:
        """Mean of tensors of one shape over all samples, on the CPU.

        Args:
            own (list[Tensor]): One per sample of this process; may be empty.

        Returns:
            Tensor: The same in all processes; empty if there is no sample at all.
        """
        found = [x for part in parallel.gather([x.cpu() for x in own]) for x in part]
        return torch.stack(found).mean(0) if found else torch.zeros(0, device='cpu')

    @staticmethod
    def common(own: list[Any]) -> list[Any]:
        """What the first process with anything has, in all processes."""
        return next((part for part in parallel.gather(own) if part), [])

    def parts(self, index: int, raw: Any) -> dict[str, Tensor]:
        """The loss of raw outputs of a sample by head; empty for a sample without target."""
        if index not in self._places:
            return {}
        return self.loss.parts(self.adapter, raw, self.data(index), self.target(index))

    def distance(self, index: int, raw: Any) -> Tensor:
        """Sum of the parts of a sample that has a target."""
        return sum(self.parts(index, raw).values())
