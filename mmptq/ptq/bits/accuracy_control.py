"""The stage that keeps layers at higher bits until the metric is close to that of float."""

import torch
from mmengine.registry import TASK_UTILS

from mmptq.ptq.context import PTQContext
from mmptq.ptq.stages.stage import RANGES, Stage
from mmptq.quantization import QuantizationError, quantizers_off
from mmptq.utils.config_files import require_file
from mmptq.utils.metrics import is_number, main_metric

from .fewest_reverted import Trial, best_trial, fewest_reverted
from .layer_scores import open_scores
from .rank_layers import rank_layers
from .score_layers import kept_piece
from .wide_layers import WideLayers

# With more reverted layers than this share nothing is left of the quantization.
MOST_REVERTED = 0.5


@TASK_UTILS.register_module()
class AccuracyControl(Stage):
    """Reverts the fewest layers that bring the metric within ``max_drop`` of the float model.

    The layers are ranked by their output loss on a few calibration samples when each is quantized
    alone, with the scales that it has. How many of the worst are reverted is found by evaluating
    the model a few times, see ``fewest_reverted``. A reverted layer has 16 bits for weight and
    input; it is float where the backend runs no 16 bits. Put the stage last: what it evaluates is
    the model that is saved.

    Args:
        max_drop (float): How much the metric may fall, in its own unit: .005 of an mAP of .308.
        metric (str, optional): Its key. Defaults to the one that stands for the model: mAP, F1 or
            accuracy, else the first number.
        evaluations (int): Evaluations of quantized models on the whole evaluation set, at most.
            Defaults to 4.
        num_samples (int): Calibration samples for the ranking. Defaults to 8.
        scores (str, optional): The ``layer_scores.json`` of another run of the same model.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='AccuracyControl', max_drop=0.005)]
    """

    needs = frozenset({RANGES})

    def __init__(
        self,
        max_drop: float,
        metric: str | None = None,
        evaluations: int = 4,
        num_samples: int = 8,
        scores: str | None = None,
    ):
        if not is_number(max_drop) or max_drop <= 0:
            raise QuantizationError(f'max_drop={max_drop!r} cannot be used: write a number > 0')
        if min(evaluations, num_samples) < 1:
            raise QuantizationError(
                f'AccuracyControl got evaluations={evaluations!r}, num_samples={num_samples!r}: '
                'use numbers >= 1'
            )
        self.max_drop, self.metric, self.evaluations = max_drop, metric, evaluations
        self.num_samples, self.scores = num_samples, scores

    def check(self, ctx: PTQContext) -> None:
        """Refuse a run that has no evaluation data, and a file that does not exist."""
        if ctx.evaluator is None:
            raise QuantizationError(
                f'max_drop={self.max_drop} needs the metric of the model, and this run has no '
                'evaluation data: start it with tools/ptq.py and a config that has val_dataloader '
                'and val_evaluator, or leave out --max-drop'
            )
        if self.scores is not None:
            require_file(self.scores, 'scores')

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Evaluate, revert and evaluate until the target is reached.

        Raises:
            QuantizationError: If it is not reached; nothing was saved then.
        """
        before = ctx.float_metrics or self._float_metrics(ctx)
        key = self._key(before)
        scores = open_scores(ctx, self.num_samples, self.scores)
        ranked = rank_layers(ctx, scores, self.num_samples)
        wide = WideLayers(ctx)
        metrics: dict[int, dict] = {}

        def drop_with(count: int) -> float:
            groups = [names for names, _ in ranked[:count]]
            metrics[count] = self._evaluate(ctx, wide, groups)
            return before[key] - metrics[count][key]

        losses = [loss for _, loss in ranked]
        most = max(1, int(MOST_REVERTED * len(ranked)))
        trials = fewest_reverted(losses, drop_with, self.max_drop, most, self.evaluations)
        best = best_trial(trials)
        groups = [names for names, _ in ranked[: best.count]] if best else []
        self._record(ctx, key, before[key], trials, groups)
        if best is None:
            raise self._unreached(key, before[key], trials, len(ranked), wide)
        reason = f'max drop {self.max_drop}: {wide.text}'
        wide.apply([name for names in groups for name in names], reason)
        ctx.quantized_metrics = metrics[best.count]
        ctx.logger.info(
            f'{key} {before[key]:.4f} in float, {before[key] - best.drop:.4f} with '
            f'{best.count} of {len(ranked)} layers at {wide.text} (drop {best.drop:.4f}, allowed '
            f'{self.max_drop}), after {len(trials)} evaluations'
        )

    def _float_metrics(self, ctx: PTQContext) -> dict:
        with quantizers_off(ctx.model):
            return ctx.evaluate()

    def _key(self, metrics: dict) -> str:
        if self.metric is None:
            return main_metric(metrics)
        if not is_number(metrics.get(self.metric)):
            known = ', '.join(name for name, value in metrics.items() if is_number(value))
            raise QuantizationError(
                f"metric '{self.metric}' is not among those of the evaluation: use one of {known}"
            )
        return self.metric

    def _evaluate(self, ctx: PTQContext, wide: WideLayers, groups: list[list[str]]) -> dict:
        """Metrics with these layers reverted; kept for a run that goes on."""

        def make() -> dict:
            with wide.reverted([name for names in groups for name in names]):
                return ctx.evaluate()

        return kept_piece(ctx, f'evaluation-{len(groups)}', make)

    def _record(
        self, ctx: PTQContext, key: str, before: float, trials: list[Trial], groups: list
    ) -> None:
        rows = [
            dict(reverted=t.count, value=before - t.drop, drop=t.drop, passed=t.passed)
            for t in trials
        ]
        names = [name for names in groups for name in names]
        ctx.record(
            'accuracy_control',
            dict(metric=key, float=before, max_drop=self.max_drop, trials=rows, layers=names),
        )

    def _unreached(
        self, key: str, before: float, trials: list[Trial], count: int, wide: WideLayers
    ) -> QuantizationError:
        best = min(trials, key=lambda trial: trial.drop)
        return QuantizationError(
            f'max_drop={self.max_drop} was not reached: {key} is {before - best.drop:.4f} of '
            f'{before:.4f} with {best.count} of {count} layers at {wide.text}; nothing was '
            'saved: try a recipe that learns, such as --recipe qdrop, a scheme with more bits, or '
            'more samples with --cfg-options calibration.num_samples=128'
        )
