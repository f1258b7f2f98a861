"""The stage that gives each layer its bits, under a budget."""

from collections import Counter
from collections.abc import Sequence

import torch
from mmengine.registry import TASK_UTILS

from mmptq.ptq.context import PTQContext
from mmptq.ptq.set_scheme import set_scheme
from mmptq.ptq.stages.stage import FLOAT_MODEL, RANGES, UNLEARNED, Stage
from mmptq.quantization import QuantizationError
from mmptq.utils.config_files import require_file
from mmptq.utils.globs import match

from .bit_problem import ACT_BITS, WEIGHT_BITS, BitProblem
from .budgets import NAMES, Budgets
from .integer_programme import Option, choose_options, total_loss
from .layer_scores import open_scores
from .score_layers import METHODS, score_layers


@TASK_UTILS.register_module()
class BitAllocation(Stage):
    """Chooses the bits of each layer so that the outputs change least within a budget.

    For every layer and width the output loss is found with this weight (or input) alone on its
    grid, on a few calibration samples, without labels. An integer programme then finds the widths
    with the smallest sum of losses that keep the budget, as HAWQ-V3 does with second derivatives
    (https://arxiv.org/abs/2011.10680). Losses are kept in ``layer_scores.json``, so that another
    budget needs no forward.

    Put it before the stage that calibrates. Layers that the plan leaves float stay float, and do
    not count. Schemes keep their form; below 8 bits weights get a zero point per channel.

    Note:
        That losses of single layers add up is an assumption: where errors are large they do not.

    Args:
        average_bits (float, optional): Mean width of weights, each weight counting once.
        average_act_bits (float, optional): Mean width of layer inputs, each value counting once.
        size (str | float, optional): Bytes of all tensors of the checkpoint: '4MB', or '25%' of the
            float weights.
        bit_ops (str | float, optional): Sum of weight bits x input bits x multiplications: '20%'
            of that with 8 bits throughout, or a number.
        weight_bits (Sequence[int]): Candidates for weights. Defaults to 2, 3, 4, 5, 6, 8.
        act_bits (Sequence[int]): Candidates for layer inputs; none keeps those of the scheme,
            unless ``average_act_bits`` asks for others (4, 6, 8). Defaults to none.
        fixed (Sequence[str]): Globs over layers that keep the bits of the scheme; these count.
        num_samples (int): Samples that losses are measured on. Defaults to 8.
        scores (str, optional): The ``layer_scores.json`` of another run of the same model.
        method (str): 'gradients' estimates the losses of all layers and widths from a few backward
            passes, see ``OutputGradients``; 'forwards' measures them, with forwards for each layer.
            Defaults to 'gradients'.

    Example:
        >>> stages = [dict(type='BitAllocation', average_bits=5), dict(type='Calibrator')]
    """

    needs = frozenset({FLOAT_MODEL, UNLEARNED})
    breaks = frozenset({RANGES})

    def __init__(
        self,
        average_bits: float | None = None,
        average_act_bits: float | None = None,
        size: str | float | None = None,
        bit_ops: str | float | None = None,
        weight_bits: Sequence[int] = (2, 3, 4, 5, 6, 8),
        act_bits: Sequence[int] = (),
        fixed: Sequence[str] = (),
        num_samples: int = 8,
        scores: str | None = None,
        method: str = 'gradients',
    ):
        self.budgets = Budgets(
            dict(
                average_bits=average_bits,
                average_act_bits=average_act_bits,
                size=size,
                bit_ops=bit_ops,
            )
        )
        if num_samples < 1:
            raise QuantizationError(f'num_samples={num_samples!r} must be at least 1')
        if method not in METHODS:
            raise QuantizationError(f'method={method!r} is unknown: use {" or ".join(METHODS)}')
        if average_act_bits is not None and not act_bits:
            act_bits = (4, 6, 8)
        self.weight_bits, self.act_bits = sorted(set(weight_bits)), sorted(set(act_bits))
        self.fixed, self.num_samples, self.scores = list(fixed), num_samples, scores
        self.method = method

    def check(self, ctx: PTQContext) -> None:
        """Refuse a file that does not exist, and what is impossible whatever the model."""
        if self.scores is not None:
            require_file(self.scores, 'scores')
        for name, widths in zip((WEIGHT_BITS, ACT_BITS), self._widths(ctx), strict=True):
            value = self.budgets.values.get(name)
            if value is not None and widths and not self.fixed and float(value) < widths[0]:
                raise QuantizationError(
                    f'{NAMES[name]} {value} is below the smallest possible, {widths[0]}: ask for '
                    'that or more'
                )

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Measure, choose, and set the schemes."""
        names = [plan.name for plan in ctx.plan.layers if plan.name in ctx.layers]
        fixed = {name for glob in self.fixed for name in match(glob, names, 'fixed', 'layer')}
        problem = BitProblem(ctx, *self._widths(ctx), fixed)
        scores = open_scores(ctx, self.num_samples, self.scores, self.method)
        self.budgets.check_possible(problem, problem.options(scores))
        count = score_layers(ctx, scores, problem.wanted(), self.num_samples, self.method)
        options = problem.options(scores)
        chosen = choose_options(options, self.budgets.limits(problem))
        if chosen is None:
            raise QuantizationError(
                f'{self.budgets.label} cannot be kept together: raise one of these budgets'
            )
        self._report(ctx, problem, options, chosen, count)
        for group, index in zip(problem.groups, chosen, strict=True):
            choice = group.choices[index]
            for name, (weight, act) in choice.schemes.items() if not group.fixed else ():
                before = problem.plans[name].reason
                reason = f'{self.budgets.label}: {choice.text}'
                reason = f'{before}; {reason}' if before else reason
                set_scheme(ctx, name, weight=weight, act=act, reason=reason)

    def _widths(self, ctx: PTQContext) -> tuple[list[int], list[int]]:
        """Candidates that the backend runs."""
        if ctx.limits is None:
            return self.weight_bits, self.act_bits
        result = []
        for part in ('weight_bits', 'act_bits'):
            own, allowed = getattr(self, part), getattr(ctx.limits, part)
            result.append([bits for bits in own if bits in allowed])
            if own and not result[-1]:
                raise QuantizationError(
                    f'{ctx.limits.name} runs none of {part}={own}: give widths of {list(allowed)}, '
                    'or leave out --backend'
                )
        return tuple(result)

    def _report(
        self,
        ctx: PTQContext,
        problem: BitProblem,
        options: list[list[Option]],
        chosen: list[int],
        count: int,
    ) -> None:
        rows = [
            dict(
                layer=name,
                bits=group.choices[index].text,
                weights=problem.costs[name].weights,
                loss=choices[index].loss,
                fixed=group.fixed,
            )
            for group, choices, index in zip(problem.groups, options, chosen, strict=True)
            for name in group.layers
        ]
        used = self.budgets.used(problem, options, chosen)
        loss = total_loss(options, chosen)
        ctx.record('bit_allocation', rows)
        ctx.record('bit_budget', dict(asked=self.budgets.values, used=used, loss=loss))
        kinds = Counter(row['bits'] for row in rows)
        ctx.logger.info(
            f'{self.budgets.label}: used {", ".join(used.values())}; '
            + ', '.join(f'{number} layers {text}' for text, number in sorted(kinds.items()))
            + f'; sum of output losses {loss:.3g} ({count} new losses of single layers)'
        )
        if ctx.limits is not None:
            ctx.logger.info(
                f'{ctx.limits.name} computes with 8-bit integers: narrower weights make the '
                'checkpoint smaller, and the engine no faster'
            )
