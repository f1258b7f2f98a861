"""Scales that different exponents of the error lead to, and the choice among them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmptq.observers import LpObserver
from mmptq.quantization import FakeQuantizer, QuantMixin

from .output_search import QParams, search_output
from .trees import copy_tensors, is_sparse


@dataclass
class Candidate:
    """An exponent, the scales it leads to, and what they cost.

    Attributes:
        p (float): The exponent.
        qparams (QParams): Scale and zero point.
        loss (float): Mean loss over the first ``num_samples`` samples.
        num_samples (int): Fewer than all where these already cost more than another candidate on
            all of them.
    """

    p: float
    qparams: QParams
    loss: float = float('nan')
    num_samples: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data; of several scales the mean."""
        scale = float(self.qparams[0].mean())
        return dict(p=self.p, mean_scale=scale, loss=self.loss, num_samples=self.num_samples)


class LayerInputs:
    """Collects what a layer is given: statistics of all samples, and copies of some.

    Args:
        layer (QuantMixin): The layer.
        kept (set[int]): Samples whose inputs are copied.
    """

    def __init__(self, layer: QuantMixin, kept: set[int]):
        self.calls: list[tuple] = []
        self._kept = kept
        slot = layer.input_quantizer
        self.observer = LpObserver(slot.scheme) if isinstance(slot, FakeQuantizer) else None

    def take(self, sample: int, args: tuple) -> None:
        """Take in the arguments of one call."""
        if sample in self._kept:
            self.calls.append(copy_tensors(args))
        if self.observer is not None:
            self.observer.update(args[0].features if is_sparse(args[0]) else args[0])


def weight_candidates(
    layer: QuantMixin, inputs: LayerInputs, exponents: list[float], fractions: Tensor | None
) -> list[Candidate]:
    """Scales of the weight with the smallest error of the output, or of the weight itself.

    Args:
        layer (QuantMixin): The layer.
        inputs (LayerInputs): What it is given.
        exponents (list[float]): Exponents of the error.
        fractions (Tensor, optional): (T,) of the range to try for the error of the output; None
            for the error of the weight.
    """
    if fractions is not None:
        found = search_output(layer, inputs.calls, exponents, fractions)
        return [Candidate(p, qparams) for p, qparams in found.items()]
    observer = LpObserver(layer.weight_quantizer.scheme)
    observer.update(layer.weight)
    return observed_candidates(observer, exponents)


def observed_candidates(observer: LpObserver, exponents: list[float]) -> list[Candidate]:
    """Scales with the smallest error of what an observer has seen."""
    candidates = []
    for p in exponents:
        observer.p = p
        candidates.append(Candidate(p, observer.qparams()))
    return candidates


def choose(
    candidates: list[Candidate],
    quantizer: FakeQuantizer,
    evaluate: Callable[[int], float],
    num_samples: int,
    fast: bool,
) -> Candidate | None:
    """Try candidates and set the scales of the best one, the first of equal ones.

    Args:
        candidates (list[Candidate]): Their losses are filled in.
        quantizer (FakeQuantizer): Gets the scales.
        evaluate (Callable): The loss on a sample, never negative.
        num_samples (int): Number of samples.
        fast (bool): Whether equal scales are tried only once, and a candidate is given up as
            soon as it costs more than the best one does on all samples.

    Returns:
        Candidate or None: None where every loss was NaN; the scales are as before then.
    """
    best, least = None, float('inf')
    before = quantizer.scale.clone(), quantizer.zero_point.clone()
    tried: list[Candidate] = []
    for candidate in candidates:
        equal = next((c for c in tried if _equal(c.qparams, candidate.qparams)), None)
        if fast and equal is not None:
            candidate.loss, candidate.num_samples = equal.loss, equal.num_samples
            continue
        tried.append(candidate)
        quantizer.set_qparams(*candidate.qparams)
        total = 0.0
        for index in range(num_samples):
            total += evaluate(index)
            candidate.loss, candidate.num_samples = total / (index + 1), index + 1
            if fast and total > least:
                break
        if total < least and candidate.num_samples == num_samples:
            best, least = candidate, total
    quantizer.set_qparams(*(best.qparams if best else before))
    return best


def _equal(first: QParams, second: QParams) -> bool:
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
