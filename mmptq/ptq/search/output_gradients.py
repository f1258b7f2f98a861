"""How much small changes of single tensors change the outputs, from a few backward passes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.model_inputs import is_detector, run_model
from mmptq.ptq.teacher.fixed_parameters import fixed_parameters
from mmptq.quantization import QScheme
from mmptq.quantization.functional import fake_quantize
from mmptq.utils.errors import QuantizationError
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.messages import first_line
from mmptq.utils.trees import is_sparse, tensors_in

from .output_loss import SCORE_THR
from .output_parts import BOXES, SCORES, VALUES, OutputPart, head_reader

# A tensor of a layer on a grid: part ('weight' or 'input'), scheme, scale and zero point.
Grid = tuple[str, QScheme, Tensor, Tensor]
SEED = 7


class OutputGradients:
    """The relative squared change of the outputs in first order, for many single changes at once.

    For outputs y, normalised as in :class:`OutputLoss`, and a change d of one tensor, the squared
    change of the outputs is ``|J d|^2 = E (v^T J d)^2`` over random signs v (Hutchinson). One
    backward gives ``v^T J`` for all tensors, so that any number of layers and widths costs the same
    few passes. The estimate is unbiased for small changes; with 8 samples and 4 sign vectors its
    standard deviation is a quarter of it, which is worth 0.2 bits.

    Args:
        ctx (PTQContext): Converted, its quantizers off.
        num_samples (int): Calibration samples, evenly spread.
        num_probes (int): Sign vectors per sample. Defaults to 4.
    """

    def __init__(self, ctx: PTQContext, num_samples: int, num_probes: int = 4):
        self.ctx, self.num_samples, self.num_probes = ctx, num_samples, num_probes
        self._reader = head_reader(ctx)

    @torch.enable_grad()
    def squared_changes(self, grids: Mapping[str, Sequence[Grid]]) -> dict[str, list[float]]:
        """Estimates by layer, one for each of its grids.

        Args:
            grids (Mapping[str, Sequence[Grid]]): Grids by layer.

        Raises:
            QuantizationError: If no output has a gradient, or the model cannot be differentiated.
        """
        layers = {name: self.ctx.layers[name].module for name in grids}
        own: list[dict[str, list[float]]] = []
        problem = ''
        with ExitStack() as stack:
            stack.enter_context(fixed_parameters(self.ctx.model))
            for layer in layers.values():
                layer.weight.requires_grad_(True)
                stack.callback(layer.weight.requires_grad_, False)
            try:
                for index, data in enumerate(self.ctx.batches('gradients', self.num_samples)):
                    own += self._sample(index, data, layers, grids)
            except (RuntimeError, NotImplementedError) as error:  # of an operator without gradient
                problem = first_line(error)
        parts = parallel.gather((own, problem))
        rows = [row for part, _ in parts for row in part]
        problems = [text for _, text in parts if text]
        if problems or not rows:
            nothing = f'no output with a confidence above {SCORE_THR} has a gradient'
            raise QuantizationError(problems[0] if problems else nothing)
        return {
            name: [sum(row[name][i] for row in rows) / len(rows) for i in range(len(some))]
            for name, some in grids.items()
        }

    def _sample(
        self,
        index: int,
        data: Any,
        layers: Mapping[str, nn.Module],
        grids: Mapping[str, Sequence[Grid]],
    ) -> list[dict[str, list[float]]]:
        """Squared changes with each sign vector on one sample."""
        sums = {name: [0.0] * len(some) for name, some in grids.items()}
        hooks = {
            layer.input_quantizer: partial(_watch_input, sums[name], grids[name])
            for name, layer in layers.items()
            if any(grid[0] == 'input' for grid in grids[name])
        }
        with temporary_hooks(after=hooks):
            outputs = _normalised(self._read(data))
        generator = torch.Generator('cpu').manual_seed(SEED + index)
        rows = []
        for probe in range(self.num_probes if outputs else 0):
            for name in sums:
                sums[name][:] = [0.0] * len(sums[name])
            signs = [_signs(y, generator) for y in outputs]
            scalar = sum((y * v).sum() for y, v in zip(outputs, signs, strict=True))
            # All leaves, so that inputs of first layers get their gradient, too.
            scalar.backward(retain_graph=probe < self.num_probes - 1)
            for name, layer in layers.items():
                _add_weight(sums[name], grids[name], layer.weight)
            for layer in layers.values():
                layer.weight.grad = None
            rows.append({name: [float(x) ** 2 for x in some] for name, some in sums.items()})
        return rows

    def _read(self, data: Any) -> list[OutputPart]:
        """Parts of the outputs that have a gradient; none where a detector has no adapter."""
        if self._reader is not None:
            return [part for part in self._reader(data) if part.values.requires_grad]
        if is_detector(self.ctx.model):
            return []
        found = [x for x in tensors_in(run_model(self.ctx.model, data)) if x.requires_grad]
        return [OutputPart(f'output {i}', VALUES, _rows(x)) for i, x in enumerate(found)]


def _watch_input(
    sums: list[Any], grids: Sequence[Grid], slot: nn.Module, args: tuple, output: Any
) -> Any:
    """Let the gradient of a layer's input add its part to the sums; a copy has one reader only."""
    x = output.features if is_sparse(output) else output
    if not x.is_floating_point():
        return output
    x = x * 1 if x.requires_grad else x.detach().requires_grad_(True)

    def note(grad: Tensor) -> None:
        for i, (part, scheme, scale, zero_point) in enumerate(grids):
            if part == 'input':
                change = fake_quantize(x.detach(), scale, zero_point, scheme) - x.detach()
                sums[i] = sums[i] + (grad * change).sum().double()

    x.register_hook(note)
    return output.replace_feature(x) if is_sparse(output) else x


def _add_weight(sums: list[Any], grids: Sequence[Grid], weight: nn.Parameter) -> None:
    for i, (part, scheme, scale, zero_point) in enumerate(grids):
        if part == 'weight' and weight.grad is not None:
            change = fake_quantize(weight.detach(), scale, zero_point, scheme) - weight.detach()
            sums[i] = sums[i] + (weight.grad * change).sum().double()


def _weights(part: OutputPart) -> Tensor:
    """How much each position counts, see ``OutputLoss``."""
    if part.confidence is None:
        return part.values.new_ones(len(part.values))
    return (part.confidence.detach() - SCORE_THR).clamp(min=0).square()


def _normalised(parts: list[OutputPart]) -> list[Tensor]:
    """Outputs whose squared change is the output loss; scores and everything else count half."""
    totals: dict[tuple[str, bool], Tensor] = {}
    scaled: list[tuple[tuple[str, bool], Tensor]] = []
    for part in parts:
        key, weights, values = (part.name, part.kind == SCORES), _weights(part), part.values
        content = weights.sum()
        if part.kind == SCORES:
            content = weights @ values.detach().square().sum(1)
        elif part.kind == BOXES:
            size = (values[:, 2:] - values[:, :2]).detach().abs().clamp(min=1)
            values = values / size.repeat(1, 2)
        else:
            spread = values.detach().var(0).clamp(min=1e-12) if len(values) > 1 else 1.0
            values = values / (spread * values.shape[1]) ** 0.5
        totals[key] = totals.get(key, 0) + content
        scaled.append((key, values * weights.sqrt()[:, None]))
    kept = [key for key, total in totals.items() if total > 0]
    counts = {kind: sum(key[1] == kind for key in kept) for kind in (True, False)}
    halves = sum(count > 0 for count in counts.values())
    return [y / (totals[key] * counts[key[1]] * halves) ** 0.5 for key, y in scaled if key in kept]


def _rows(x: Tensor) -> Tensor:
    """An output as (P, C): the batch and positions, by channel."""
    if x.dim() < 2:
        return x.reshape(-1, 1)
    return x.movedim(1 if x.dim() > 3 else -1, -1).flatten(0, -2)


def _signs(y: Tensor, generator: torch.Generator) -> Tensor:
    """Random signs; drawn on the CPU, so that every device has the same ones."""
    bits = torch.randint(0, 2, y.shape, generator=generator, device='cpu')
    return (2 * bits - 1).to(y)
