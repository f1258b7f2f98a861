"""How far quantization moves confidences, and which samples it changes most; no labels needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .prediction_pairs import match_predictions
from .predictions import LANES, OTHER, Predictions

THRESHOLD = 0.3  # the default of mmdet's and mmdet3d's inferencers
# Where hardly anything reaches the threshold: the mean number of detections that are looked at.
_PER_SAMPLE = 5
# Partners below the threshold are found down to this part of it.
_PART = 3


def score_shift(
    first: Sequence[Predictions], second: Sequence[Predictions], threshold: float = THRESHOLD
) -> dict[str, Any]:
    """Mean change of scores at matched detections, and a threshold that keeps their number.

    Args:
        first (Sequence[Predictions]): Of the float model, one per sample.
        second (Sequence[Predictions]): Of the quantized model on the same samples.
        threshold (float): Pairs count where one of both has at least this score. Defaults to 0.3.

    Returns:
        dict: ``what`` was found ('detections' or 'lanes'); ``threshold``; ``pairs`` K; ``mean``
        change of the score (second minus first) and ``mean_absolute`` over pairs, None without
        pairs; ``first_count`` and ``second_count`` at the threshold; ``matched``, the share of them
        that is in a pair; ``same_count_at``, the threshold at which the second model finds
        ``first_count``, None where it never finds as many. Lanes have no scores: only counts and
        ``matched``.
    """
    changes: list[np.ndarray] = []
    counts, in_pairs = [0, 0], 0
    for one, other in zip(first, second, strict=True):
        shift, of_pairs = _shifts(one, other, threshold)
        changes.append(shift)
        in_pairs += of_pairs
        counts[0] += int((one.scores >= threshold).sum())
        counts[1] += int((other.scores >= threshold).sum())
    change = np.concatenate(changes) if changes else np.zeros(0)
    lanes = any(sample.kind == LANES for sample in (*first, *second))
    known = len(change) and not lanes
    return dict(
        what='lanes' if lanes else 'detections',
        threshold=threshold,
        pairs=len(change),
        mean=float(change.mean()) if known else None,
        mean_absolute=float(np.abs(change).mean()) if known else None,
        first_count=counts[0],
        second_count=counts[1],
        matched=in_pairs / sum(counts) if sum(counts) else None,
        same_count_at=None if lanes else _threshold(second, counts[0]),
    )


def changes_of_samples(
    first: Sequence[Predictions], second: Sequence[Predictions], threshold: float
) -> np.ndarray:
    """(S,) how much the detections of each sample changed.

    Each detection at the threshold without a partner adds its score; each pair the change of its
    score, and its mean score times how far the partners lie apart (1 minus the IoU for boxes).
    """
    return np.array(
        [_change(one, other, threshold) for one, other in zip(first, second, strict=True)]
    )


def usual_threshold(samples: Sequence[Predictions]) -> float:
    """0.3, or lower where this leaves fewer than five detections per sample on average."""
    scores = [sample.scores for sample in samples]
    scores = -np.sort(-np.concatenate(scores)) if scores else np.zeros(0)
    enough = min(_PER_SAMPLE * len(samples), len(scores)) - 1
    return min(THRESHOLD, float(scores[enough])) if len(scores) else THRESHOLD


def shift_text(shift: dict[str, Any], names: tuple[str, str] = ('float', 'quantized')) -> str:
    """One line about a score shift.

    Args:
        shift (dict): Of ``score_shift``.
        names (tuple[str, str]): Of the two models.
    """
    limit = shift['threshold']
    counts = (
        f'{shift["first_count"]} {shift["what"]} of the {names[0]} model, '
        f'{shift["second_count"]} of the {names[1]} one'
    )
    if shift['mean'] is None:
        return counts if shift['matched'] is None else f'{counts}; {shift["matched"]:.1%} match'
    text = (
        f'scores change by {shift["mean"]:+.4f} on average (absolute {shift["mean_absolute"]:.4f}) '
        f'over {shift["pairs"]} matched detections; {counts} at threshold {limit:.3g}'
    )
    if shift['same_count_at'] is None:
        return text
    return f'{text}; threshold {shift["same_count_at"]:.3f} gives it {shift["first_count"]}'


def _shifts(one: Predictions, other: Predictions, threshold: float) -> tuple[np.ndarray, int]:
    """Score changes of pairs, and how many detections at the threshold are in a pair."""
    if OTHER in (one.kind, other.kind):
        return np.zeros(0), 0
    one, other = one.above(threshold / _PART), other.above(threshold / _PART)
    pairs = match_predictions(one, other)
    before, after = one.scores[pairs.first], other.scores[pairs.second]
    counts = (before >= threshold) | (after >= threshold)
    of_pairs = int((before >= threshold).sum() + (after >= threshold).sum())
    return (after - before).astype(np.float64)[counts], of_pairs


def _change(one: Predictions, other: Predictions, threshold: float) -> float:
    one, other = one.above(threshold / _PART), other.above(threshold / _PART)
    pairs = match_predictions(one, other)
    before, after = one.scores[pairs.first], other.scores[pairs.second]
    moved = np.abs(after - before) + (1 - pairs.closeness) * (before + after) / 2
    total = moved[(before >= threshold) | (after >= threshold)].sum()
    for sample, paired in ((one, pairs.first), (other, pairs.second)):
        alone = np.ones(len(sample), bool)
        alone[paired] = False
        total += sample.scores[alone & (sample.scores >= threshold)].sum()
    return float(total)


def _threshold(samples: Sequence[Predictions], count: int) -> float | None:
    """Halfway between the score of the last detection that counts and of the next one."""
    scores = [sample.scores for sample in samples]
    scores = -np.sort(-np.concatenate(scores)) if scores else np.zeros(0)
    if len(scores) < count:
        return None
    highest = scores[count - 1] if count else 1.0
    following = scores[count] if count < len(scores) else 0.0
    return float((highest + following) / 2)
