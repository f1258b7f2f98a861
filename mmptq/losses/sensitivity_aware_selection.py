"""Which heads of a lane detector count, by how far their errors move lanes."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.quantization import QuantizationError

from .head_distortions import head_distortions

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


class SensitivityAwareSelection(nn.Module):
    """Weights of heads that follow their sensitivity while the network is learned.

    Before learning, a table is made per head k on some calibration images: ``T_k(r)``, the lane
    distortion if only this head has its own quantization error times r. During learning the
    relative error ``r_k = sqrt(L_k / L_k(0))`` of an exponential mean of the losses gives the
    sensitivity ``s_k = T_k(r_k)`` by linear interpolation, so that no image is decoded any more.
    The ``num_heads`` heads with the largest s_k have weights in proportion to it, the others none.

    Until the first refresh all r_k are 1: the table at the errors before learning decides. If no
    head's errors move a lane, all heads count the same.

    Note:
        That influential heads are identified at run time, and that this is made cheap by
        interpolation, is known of Selective Focus (https://arxiv.org/abs/2405.06264). The table,
        the mean, the number of heads and the interval are our reading, and ``keep`` is ours.

    Args:
        num_heads (int, optional): Number of selected heads. Defaults to half of them, rounded up.
        keep (float): Share of the weight that all heads have alike; 0 leaves heads that are not
            selected without any. Defaults to 0.5.
        interval (int): Steps between two refreshes of the weights. Defaults to 50.
        momentum (float): Of the exponential mean. Defaults to 0.9.
        num_images (int): Calibration batches for the table, of all processes together. Defaults
            to 16.
        ratios (Sequence[float]): r of the table, rising from 0. Defaults to 0 to 2 in 7 steps.
        distortion (dict): How lanes are compared. Defaults to ``dict(type='LaneDistortion')``.
    """

    def __init__(
        self,
        num_heads: int | None = None,
        keep: float = 0.5,
        interval: int = 50,
        momentum: float = 0.9,
        num_images: int = 16,
        ratios: Sequence[float] = RATIOS,
        distortion: dict[str, Any] = dict(type='LaneDistortion'),  # noqa: B006 (never changed)
    ):
        super().__init__()
        if min(interval, num_images, 1 if num_heads is None else num_heads) < 1:
            raise QuantizationError(
                f'selection got num_heads={num_heads!r}, interval={interval!r}, '
                f'num_images={num_images!r}: all must be >= 1'
            )
        if not 0 <= momentum < 1 or len(ratios) < 2 or list(ratios) != sorted({0.0, *ratios}):
            raise QuantizationError(
                f'selection got momentum={momentum!r}, ratios={ratios!r}: use 0 <= momentum < 1 '
                'and two or more ratios that rise from 0'
            )
        if not 0 <= keep <= 1:
            raise QuantizationError(f'selection got keep={keep!r}: use 0 <= keep <= 1')
        self.num_heads, self.interval, self.momentum = num_heads, interval, momentum
        self.keep = keep
        self.num_images, self.ratios = num_images, [float(r) for r in ratios]
        self.distortion = TASK_UTILS.build(distortion)
        self.history: list[list[float]] = []  # step, then weights
        for name in ('table', 'average', 'weights'):
            self.register_buffer(name, torch.zeros(0))

    @torch.no_grad()
    def prepare(self, teacher: Any, heads: Sequence[str]) -> None:
        """Make the table with the model as it is, before anything is learned.

        Args:
            teacher (TeacherOutputs): The calibration samples.
            heads (Sequence[str]): Names of the heads.
        """
        count = min(len(teacher.found), math.ceil(self.num_images / len(teacher.counts)))
        chosen = [teacher.found[i * len(teacher.found) // count] for i in range(count)]
        own = [self._tables(teacher, index) for index in chosen]
        self.table = teacher.mean_over_samples([rows for rows in own if len(rows)])
        self.average = torch.ones(len(heads), device='cpu')
        self.history = []
        self._refresh(0)

    def _tables(self, teacher: Any, index: int) -> Tensor:
        """(K, R) distortions on one sample."""
        adapter, raw = teacher.adapter, teacher.float_raw(index)
        parts, moved = adapter.parts(raw), adapter.parts(teacher.raw_outputs(index))
        errors = {name: moved[name] - part for name, part in parts.items()}
        found = head_distortions(
            adapter, raw, errors, teacher.data(index), self.ratios, self.distortion
        )
        return torch.tensor(list(found.values()), device='cpu')

    def update(self, step: int, relative: Tensor) -> None:
        """Follow the errors, and refresh the weights at the end of an interval.

        Args:
            step (int): Index of the step.
            relative (Tensor): (K,) ``L_k / L_k(0)`` in this step.
        """
        self.average = self.momentum * self.average + (1 - self.momentum) * relative
        if (step + 1) % self.interval == 0:
            self._refresh(step + 1)

    def sensitivities(self) -> Tensor:
        """(K,) s_k, interpolated; beyond the last ratio it stays what it is there."""
        ratios = torch.tensor(self.ratios, device='cpu')
        at = self.average.clamp(min=0).sqrt().clamp(max=self.ratios[-1])
        right = torch.searchsorted(ratios, at).clamp(1, len(ratios) - 1)
        share = (at - ratios[right - 1]) / (ratios[right] - ratios[right - 1])
        low = self.table.gather(1, (right - 1)[:, None])[:, 0]
        high = self.table.gather(1, right[:, None])[:, 0]
        return low + share * (high - low)

    def _refresh(self, step: int) -> None:
        sensitivity = self.sensitivities()
        count = self.num_heads or math.ceil(len(sensitivity) / 2)
        chosen = sensitivity.topk(min(count, len(sensitivity))).indices
        weights = torch.zeros_like(sensitivity)
        weights[chosen] = sensitivity[chosen]
        total, alike = weights.sum(), torch.full_like(weights, 1 / len(weights))
        if total > 0:
            alike = self.keep * alike + (1 - self.keep) * weights / total
        self.weights = alike
        self.history.append([step, *self.weights.tolist()])

    def records(self, heads: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """The table and the history of weights as rows."""
        table = self.table.tolist()
        return dict(
            head_sensitivity=[
                dict(head=name, **{f'{r:g}': x for r, x in zip(self.ratios, row, strict=True)})
                for name, row in zip(heads, table, strict=True)
            ],
            head_weights=[
                dict(step=int(step), **dict(zip(heads, weights, strict=True)))
                for step, *weights in self.history
            ],
        )

    def get_extra_state(self) -> dict[str, Any]:
        """The history, which a resumed run goes on with."""
        return dict(history=[list(row) for row in self.history])

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.history = [list(row) for row in state['history']]
