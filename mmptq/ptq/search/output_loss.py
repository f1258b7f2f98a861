"""How far the outputs of the model are from those of the float model, without labels."""

from collections.abc import Set
from contextlib import nullcontext
from typing import TypeVar

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from mmptq.losses.detection_output_loss import ordered_boxes
from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.quantization import QuantizationError, quantizers_off

from .output_parts import BOXES, SCORES, VALUES, OutputPart, Reader, head_reader, layer_reader, read
from .sensitivity import PARTS, only_quantized

# A position counts by the square of how far its best class probability is above this.
SCORE_THR = 0.05
# Variances of columns are at least this share of their mean: a column that hardly varies says
# little, and must not outweigh all others.
LEAST_VARIANCE = 0.01
T = TypeVar('T')
Key = tuple[str, str]  # name and kind of parts


class IncomparableError(QuantizationError):
    """The outputs of a model hold nothing that can be compared with those of the float model."""


class OutputLoss:
    """Relative squared error of the outputs on some calibration samples; 0 for the float model.

    With an adapter the head outputs are compared position by position, before any suppression::

        scores   sum w |p - p'|^2 / sum v |p|^2          p: class probabilities
        boxes    sum v (1 - GIoU(b, b'))^2 / sum v       boxes in the image plane
        others   sum v |r - r'|^2 / (var(r) sum v)       regressions, the mean of their columns

    where v is ``max(0, best class probability of the float model - 0.05)^2``, and w the same with
    the larger probability of float and present model, so that false detections count. The loss is
    the mean of that of the scores and that of the other parts; sums in denominators go over all
    samples. Where no adapter knows the model, or it finds nothing on any sample, the outputs of
    all layers that feed no further layer are compared, with v = w = 1; those of a model that is no
    detector are what it returns. A layer with a data-dependent number of rows is left out.

    Errors of different layers nearly add up while they are small. 0.001 is an error of 3 % of what
    the outputs hold.

    It is made once the model is converted; with quantizers off the model has to be the float one.
    Later the weights may change: the float outputs are kept. In a run of several processes each
    holds its share of the samples, and all get the same result.

    Args:
        ctx (PTQContext): Converted; calibrated before the first call.
        num_samples (int): Calibration samples, evenly spread. Defaults to 8.
        budget_bytes (int): Memory for samples and float outputs. Defaults to 1 GiB.

    Attributes:
        left_out (set[str]): Parts that cannot be compared, because their rows differ.

    Raises:
        IncomparableError: If there is nothing to compare.

    Example:
        >>> with OutputLoss(ctx, num_samples=8) as loss:
        >>>     loss().mean()                         # of the model as it stands
        >>>     loss({'backbone.conv1'})              # with only this layer quantized, per sample
        >>>     loss(set(ctx.layers) - {'neck.conv'}, ('input',))
    """

    def __init__(self, ctx: PTQContext, num_samples: int = 8, budget_bytes: int = 2**30):
        self.ctx = ctx
        folder = ctx.work_dir / 'cache'
        self._samples = ActivationCache(max(1, budget_bytes // 2), folder)
        self._targets = ActivationCache(max(1, budget_bytes // 2), folder)
        self.left_out: set[str] = set()
        for data in ctx.batches('load', num_samples):
            self._samples.append(data, exact=True)
        reader = head_reader(ctx)
        if reader is None or not self._fit(reader):
            self._targets.close()
            if not self._fit(layer_reader(ctx)):
                raise IncomparableError(
                    'the outputs of the model hold no numbers that can be compared: name a recipe '
                    'that does not compare them, with --recipe mse'
                )

    def __len__(self) -> int:
        """Samples of all processes."""
        return sum(parallel.gather(len(self._samples)))

    def __enter__(self) -> 'OutputLoss':
        return self

    def __exit__(self, *_) -> None:
        self._samples.close()
        self._targets.close()

    def __call__(self, names: Set[str] | None = None, parts: tuple[str, ...] = PARTS) -> Tensor:
        """The loss on each sample.

        Args:
            names (set[str], optional): Only these layers are quantized, all others compute in
                float. Defaults to None: the model as it stands.
            parts (tuple[str]): 'weight', 'input' or both: what of these layers is quantized.

        Returns:
            Tensor: (N,) float64 on the CPU, in the order of the samples.

        Raises:
            IncomparableError: If no part can be compared.
        """
        rows = [_total(row) for row in self._measure(names, parts)]
        return torch.tensor(rows, dtype=torch.float64, device='cpu')

    def by_part(
        self, names: Set[str] | None = None, parts: tuple[str, ...] = PARTS
    ) -> dict[str, float]:
        """Mean loss over samples of each part of the outputs, such as ``bbox_head.scores``."""
        rows = self._measure(names, parts)
        return {name: sum(row[name, kind] for row in rows) / len(rows) for name, kind in rows[0]}

    def _fit(self, reader: Reader) -> bool:
        """Record the float outputs and what they hold; False where that is nothing."""
        self._reader = reader
        rows, moments = [], []
        with quantizers_off(self.ctx.model):
            for index in range(len(self._samples)):
                target = read(reader, self._samples[index])
                rows.append(_contents(target))
                moments.append(_moments(target))
                self._targets.append(target)
        sums = _sums(parallel.gather_shards(moments))
        self._spreads = {key: _variance(*total) for key, total in sums.items()}
        means = _sums(parallel.gather_shards(rows))
        self._norms = {key: total / len(self) for key, total in means.items() if total > 0}
        return bool(self._norms)

    @torch.no_grad()
    def _measure(self, names: Set[str] | None, parts: tuple[str, ...]) -> list[dict[Key, float]]:
        """Errors by name and kind of a part, for each sample of all processes."""
        layers = {name: state.module for name, state in self.ctx.layers.items()}
        own = []
        with nullcontext() if names is None else only_quantized(layers, names, parts):
            for index in range(len(self._samples)):
                found = read(self._reader, self._samples[index])
                own.append(self._errors(found, self._targets[index]))
        rows = parallel.gather_shards(own)
        self._leave_out({name for row in rows for (name, _), error in row.items() if error is None})
        keys = [key for key in self._norms if key[0] not in self.left_out]
        return [{key: row.get(key, 0.0) / self._norms[key] for key in keys} for row in rows]

    def _errors(self, found: list[OutputPart], target: list[OutputPart]) -> dict[Key, float | None]:
        """Sums of weighted squared errors; None for a part with other rows than the float one."""
        errors: dict[Key, float | None] = {}
        found_parts, target_parts = _by_key(found), _by_key(target)
        for key, references in target_parts.items():
            parts = found_parts.get(key, [])
            same = [x.values.shape for x in parts] == [x.values.shape for x in references]
            pairs = zip(parts, references, strict=True) if same else ()
            total = sum(float(_error(*pair, self._spreads)) for pair in pairs)
            errors[key] = total if same else None
        return errors

    def _leave_out(self, names: set[str]) -> None:
        new = names - self.left_out
        if not new:
            return
        self.left_out |= new
        if all(name in self.left_out for name, _ in self._norms):
            raise IncomparableError(
                f"the outputs of '{min(new)}' have other rows than those of the float model and "
                'nothing else can be compared: register an adapter for the model, see '
                'docs/development/add_adapter.md'
            )
        self.ctx.logger.warning(
            f'the output loss leaves out {", ".join(sorted(new))}, whose rows depend on what the '
            'network finds'
        )


def _by_key(parts: list[OutputPart]) -> dict[Key, list[OutputPart]]:
    groups: dict[Key, list[OutputPart]] = {}
    for part in parts:
        groups.setdefault((part.name, part.kind), []).append(part)
    return groups


def _total(row: dict[Key, float]) -> float:
    """Mean of scores and of everything else."""
    scores = [error for (_, kind), error in row.items() if kind == SCORES]
    others = [error for (_, kind), error in row.items() if kind != SCORES]
    means = [sum(errors) / len(errors) for errors in (scores, others) if errors]
    return sum(means) / len(means)


def _weights(confidence: Tensor) -> Tensor:
    return (confidence - SCORE_THR).clamp(min=0).square()


def _moments(parts: list[OutputPart]) -> dict[Key, Tensor]:
    """Sums of weights, weighted values and squares (3, D) of each part of kind 'values'."""
    moments: dict[Key, Tensor] = {}
    for part in parts:
        if part.kind == VALUES and part.values.numel():
            x = part.values.double()
            w = x.new_ones(len(x))
            if part.confidence is not None:
                w = _weights(part.confidence).double()
            own = torch.stack([w.sum().expand(x.shape[1]), x.T.mv(w), x.square().T.mv(w)]).cpu()
            moments[part.name, part.kind] = moments.get((part.name, part.kind), 0) + own
    return moments


def _sums(rows: list[dict[Key, T]]) -> dict[Key, T]:
    sums: dict[Key, T] = {}
    for row in rows:
        for key, value in row.items():
            sums[key] = sums[key] + value if key in sums else value
    return sums


def _variance(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    """Variance (D,) of columns where the positions count."""
    count = count.clamp(min=1e-12)
    variance = (squares / count - (total / count).square()).clamp(min=0)
    # A quantity that is the same everywhere is measured by its size.
    variance = variance if bool((variance > 0).any()) else squares / count
    return variance.clamp(min=max(LEAST_VARIANCE * float(variance.mean()), 1e-12))


def _contents(target: list[OutputPart]) -> dict[Key, float]:
    """What the parts of a sample hold, which errors are relative to."""
    contents: dict[Key, float] = {}
    for part in target:
        weights = part.values.new_ones(len(part.values))
        if part.confidence is not None:
            weights = _weights(part.confidence)
        content = weights @ part.values.square().sum(1) if part.kind == SCORES else weights.sum()
        key = part.name, part.kind
        contents[key] = contents.get(key, 0.0) + float(content)
    return contents


def _error(part: OutputPart, target: OutputPart, spreads: dict[Key, Tensor]) -> Tensor | float:
    if not part.values.numel():
        return 0.0
    if part.kind == SCORES:
        weights = _weights(torch.maximum(part.confidence, target.confidence))
        return weights @ (part.values - target.values).square().sum(1)
    if part.kind == BOXES:
        weights = _weights(target.confidence)
        chosen = weights > 0
        boxes = (ordered_boxes(x.values[chosen]) for x in (target, part))
        return weights[chosen] @ (1 - bbox_overlaps(*boxes, 'giou', is_aligned=True)).square()
    spread = spreads[part.name, part.kind].to(part.values)
    error = ((part.values - target.values).square() / spread).mean(1)
    return error.sum() if target.confidence is None else _weights(target.confidence) @ error
