"""The stage that finds out what a network needs, and does it."""

from collections.abc import Sequence
from typing import Any

from mmengine.registry import TASK_UTILS

from mmptq.compat.spconv_cpu import remembered_pairs
from mmptq.ptq.checks.layer_diagnosis import diagnosis_rows
from mmptq.ptq.context import PTQContext
from mmptq.ptq.search.output_loss import IncomparableError, OutputLoss
from mmptq.ptq.stages.calibrator import Calibrator
from mmptq.ptq.stages.stage import FLOAT_MODEL, RANGES, UNLEARNED, Stage
from mmptq.quantization import QuantizationError

from .biases import correct_biases
from .more_bits import give_more_bits, measure_layers
from .multipliers import even_out_channels
from .ranges import choose_ranges
from .raw_points import refine_points
from .report import report
from .snapshot import Snapshot
from .tuning import Tuning
from .weight_ranges import choose_weight_ranges

REMEDIES = ('multipliers', 'ranges', 'biases', 'more_bits')
OBSERVER = dict(type='LpObserver', p=2.0)


@TASK_UTILS.register_module()
class AutoTuner(Stage):
    """Diagnoses the calibrated model, and applies remedies until the outputs are close to float.

    Remedies are tried in this order, from free to costly; each stays only where it lowers
    :class:`OutputLoss` on a few calibration samples by 5 % or more, and the search ends as soon as
    the loss is at most ``target``:

    0. more bits for layers that read raw points, whatever the loss;
    1. channel multipliers on depthwise convolutions, and on layers that lose more than others;
    2. for each weight of fewer than 8 bits, and then for each layer input, the range with the
       smallest error of the layer's output;
    3. bias correction;
    4. more bits for the layers with the largest loss per cost: 8 in place of fewer, then a 16-bit
       input, float where the backend has no 16 bits; then bias correction again.

    No label is read, and nothing is learned. ``run.json`` has the diagnosis ('diagnosis') and what
    was tried ('auto').

    Args:
        target (float): Loss that is small enough. Defaults to 0.001.
        num_samples (int): Calibration samples for the loss. Defaults to 8.
        remedies (Sequence[str]): Those that may be tried: 'multipliers', 'ranges', 'biases' and
            'more_bits'. Defaults to all.
        weight_observer (dict): Observer of weights of layers that change.
        act_observer (dict): Observer of inputs of layers that change.
        cache_budget (int): Bytes of memory for samples and float outputs. Defaults to 1 GiB.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='AutoTuner', target=0.001)]
    """

    needs = frozenset({RANGES, FLOAT_MODEL, UNLEARNED})

    def __init__(
        self,
        target: float = 0.001,
        num_samples: int = 8,
        remedies: Sequence[str] = REMEDIES,
        weight_observer: dict[str, Any] = OBSERVER,
        act_observer: dict[str, Any] = OBSERVER,
        cache_budget: int = 2**30,
    ):
        numbers = target >= 0 and min(num_samples, cache_budget) >= 1
        if not numbers or not set(remedies) <= set(REMEDIES):
            raise QuantizationError(
                f'AutoTuner got target={target!r}, num_samples={num_samples!r}, '
                f'remedies={remedies!r}, cache_budget={cache_budget!r}: use target >= 0, numbers '
                f'of at least 1, and remedies among {", ".join(REMEDIES)}'
            )
        self.target = target
        self.remedies = tuple(remedies)
        self.breaks = frozenset({FLOAT_MODEL} if 'biases' in remedies else ())
        self.num_samples = num_samples
        self.calibrator = Calibrator(weight_observer, act_observer)
        self.cache_budget = cache_budget

    def run(self, ctx: PTQContext) -> None:
        """Diagnose, decide, and say what was done."""
        try:
            self._tune(ctx)
        except IncomparableError as error:
            ctx.logger.warning(f'the search for remedies ends, because {error}')

    def _tune(self, ctx: PTQContext) -> None:
        with OutputLoss(ctx, self.num_samples, self.cache_budget) as loss, remembered_pairs():
            tuning = Tuning(ctx, loss, self.calibrator, self.target)
            tuning.start()
            before, rows = tuning.value, diagnosis_rows(ctx, tuning.facts)
            self._apply(tuning)
            if not tuning.good:
                measure_layers(tuning)
        for row in rows:
            row['output_loss'] = tuning.losses.get(row['layer'])
        ctx.record('diagnosis', rows)
        report(tuning, before, rows)

    def _apply(self, tuning: Tuning) -> None:
        if 'more_bits' in self.remedies:
            refine_points(tuning)
        for name, remedy in (
            ('multipliers', even_out_channels),
            ('ranges', choose_weight_ranges),
            ('ranges', choose_ranges),
        ):
            if name in self.remedies and not tuning.good:
                remedy(tuning)
        before, value = Snapshot(tuning.ctx), tuning.value
        corrected = False
        if 'biases' in self.remedies and not tuning.good:
            corrected = correct_biases(tuning)
        if tuning.good or 'more_bits' not in self.remedies:
            return
        if corrected:  # more bits are judged against the float model
            before.restore()
            tuning.steps.pop()
            tuning.value = value
        give_more_bits(tuning)
        if corrected:
            correct_biases(tuning)
