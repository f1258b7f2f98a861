"""Candidate scales from different exponents of the error, and the choice among them."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from operator import sub
from statistics import mean, stdev
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor

from mmptq.observers import LpObserver
from mmptq.ptq import parallel
from mmptq.quantization import FakeQuantizer, QuantMixin
from mmptq.utils.trees import copy_tensors, is_sparse, map_tensors

from .output_search import QParams, search_output

# Two candidates differ clearly by this many standard errors, on at least this many samples.
STANDARD_ERRORS = 2.0
FEWEST_SAMPLES = 4
# Errors of a layer's output are measured on crops of its inputs of this height and width.
CROP_SIZE = 16


@dataclass
class Candidate:
    """An exponent, its scales, and their loss.

    Attributes:
        p (float): The exponent.
        qparams (QParams): Scale and zero point.
        loss (float): Mean loss over all samples. For a candidate that was dropped early it is an
            estimate: the loss of the best one plus the mean difference on the samples tried.
        num_samples (int): Samples it was tried on, the first ones.
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
    """Collects inputs of a layer: statistics of all samples, and crops of some.

    Args:
        layer (QuantMixin): The layer.
        kept (set[int]): Samples to keep crops of.
    """

    def __init__(self, layer: QuantMixin, kept: set[int]):
        self._calls: list[tuple[int, tuple]] = []
        self._layer, self._kept = layer, kept
        slot = layer.input_quantizer
        self.observer = LpObserver(slot.scheme) if isinstance(slot, FakeQuantizer) else None

    def take(self, sample: int, args: tuple) -> None:
        """Take in the arguments of one call."""
        if sample in self._kept:
            self._calls.append((sample, copy_tensors(_crop(self._layer, args, sample))))
        if self.observer is not None:
            self.observer.update(args[0].features if is_sparse(args[0]) else args[0])

    @property
    def calls(self) -> list[tuple]:
        """Arguments of the calls on kept samples."""
        return [args for _, args in self._calls]

    def merge(self, device: torch.device) -> None:
        """Take in what the other processes collected.

        Args:
            device (torch.device): Of the layer.
        """
        for calls, state in parallel.from_others(self._state):
            self._calls += map_tensors(lambda x: x.to(device), calls)
            if self.observer is not None:
                self.observer.merge([state])
        self._calls.sort(key=lambda call: call[0])

    def _state(self) -> tuple[list[tuple[int, tuple]], dict[str, Any] | None]:
        calls = map_tensors(lambda x: x.cpu(), self._calls)
        return calls, None if self.observer is None else self.observer.state()


def _crop(layer: QuantMixin, args: tuple, sample: int) -> tuple:
    """A random crop of a map (B, C, H, W), which is enough to measure errors; else everything.

    That of a linear layer, whose channels come last, is (B, H, W, C).
    """
    if len(args) != 1 or is_sparse(args[0]) or args[0].dim() != 4:
        return args
    generator = torch.Generator('cpu').manual_seed(sample)
    (x,) = args
    for axis in (2, 3) if layer.channel_axis == 1 else (1, 2):
        size = min(CROP_SIZE, x.shape[axis])
        start = torch.randint(x.shape[axis] - size + 1, (), generator=generator, device='cpu')
        x = x.narrow(axis, int(start), size)
    return (x,)


def weight_candidates(
    layer: QuantMixin, inputs: LayerInputs, exponents: list[float], fractions: Tensor | None
) -> list[Candidate]:
    """Scales of the weight with the smallest error of the output, or of the weight itself.

    Args:
        layer (QuantMixin): The layer.
        inputs (LayerInputs): Its inputs.
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
    """Scales with the smallest error on the data of an observer.

    Each process searches those of some exponents.
    """

    def search(p: float) -> QParams:
        observer.p = p
        scale, zero_point = observer.qparams()
        return scale.cpu(), zero_point.cpu()

    found = parallel.gather_shards([search(p) for p in parallel.shard(exponents)])
    return [Candidate(p, qparams) for p, qparams in zip(exponents, found, strict=True)]


def choose(
    candidates: list[Candidate],
    quantizer: FakeQuantizer,
    evaluate: Callable[[int], float],
    num_samples: int,
    fast: bool,
    tolerance: float = 0.0,
    own: Container[int] | None = None,
) -> Candidate | None:
    """Try candidates and set the scales of the best one, the first of equal ones.

    Processes evaluate one sample each at a time and decide as one process does, sample by sample.

    Args:
        candidates (list[Candidate]): Their losses are filled in.
        quantizer (FakeQuantizer): Gets the scales.
        evaluate (Callable): The loss on a sample.
        num_samples (int): Number of samples.
        fast (bool): Whether equal scales are tried only once, and candidates are dropped as soon
            as they are clearly worse than another one, or clearly not better than an earlier one,
            on the samples so far.
        tolerance (float): A candidate is better than an earlier one if its loss is smaller by more
            than this share.
        own (Container[int], optional): Samples that this process evaluates. Defaults to all.

    Returns:
        Candidate or None: None where every loss was NaN; the scales are as before then.
    """
    before = quantizer.scale.clone(), quantizer.zero_point.clone()
    twins = _twins(candidates) if fast else {}
    alive = [candidate for candidate in candidates if id(candidate) not in twins]
    losses: dict[int, list[float]] = {id(candidate): [] for candidate in alive}
    samples, found, tried = range(num_samples), {}, alive
    for sample in samples:
        if sample not in found:
            some = samples[sample : sample + get_world_size()]
            found, tried = _measure(alive, quantizer, evaluate, some, own), alive
        left = {id(candidate) for candidate in alive}
        for candidate, loss in zip(tried, found[sample], strict=True):
            if id(candidate) in left:
                losses[id(candidate)].append(loss)
        if fast and sample + 1 >= FEWEST_SAMPLES:
            alive = _still_in_question(alive, losses, tolerance)
            if len(alive) == 1:
                break
    best = _first_of_the_best(alive, losses, tolerance)
    for candidate in candidates:
        found = losses[id(twins.get(id(candidate), candidate))]
        reference = losses[id(best)]
        difference = mean(map(sub, found, reference))  # on the samples of the shorter list
        candidate.loss, candidate.num_samples = mean(reference) + difference, len(found)
    if not isfinite(best.loss):
        best = None
    quantizer.set_qparams(*(best.qparams if best else before))
    return best


def _measure(
    candidates: list[Candidate],
    quantizer: FakeQuantizer,
    evaluate: Callable[[int], float],
    samples: Sequence[int],
    own: Container[int] | None,
) -> dict[int, list[float]]:
    """Loss of each candidate by sample; each process evaluates the samples that it has."""
    found: dict[int, list[float]] = {}
    for sample in samples:
        if own is not None and sample not in own:
            continue
        found[sample] = []
        for candidate in candidates:
            quantizer.set_qparams(*candidate.qparams)
            found[sample].append(evaluate(sample))
    return {sample: losses for part in parallel.gather(found) for sample, losses in part.items()}


def _still_in_question(
    alive: list[Candidate], losses: dict[int, list[float]], tolerance: float
) -> list[Candidate]:
    """Candidates that may still win; others are clearly worse than an earlier or the best one."""
    first = min(range(len(alive)), key=lambda i: _finite_sum(losses[id(alive[i])]))
    best = alive[first]
    margin = tolerance * mean(losses[id(best)])
    left: list[Candidate] = []
    for index, candidate in enumerate(alive):
        own = losses[id(candidate)]
        # An earlier candidate wins unless it is beaten by the margin.
        rivals = [(former, -margin) for former in left]
        rivals += [(best, margin)] if index < first else []
        if not any(_clearly_worse(own, losses[id(c)], limit) for c, limit in rivals):
            left.append(candidate)
    return left


def _first_of_the_best(
    alive: list[Candidate], losses: dict[int, list[float]], tolerance: float
) -> Candidate:
    """The last one that is better than each one before it by more than the tolerance."""
    best = alive[0]
    for candidate in alive[1:]:
        lowest, own = (_finite_sum(losses[id(c)]) for c in (best, candidate))
        if own < lowest * (1 - tolerance):
            best = candidate
    return best


def _finite_sum(losses: list[float]) -> float:
    total = sum(losses)
    return total if isfinite(total) else inf


def _twins(candidates: list[Candidate]) -> dict[int, Candidate]:
    """Candidates (by id) with the same scales as an earlier one, and that one."""
    twins: dict[int, Candidate] = {}
    first: list[Candidate] = []
    for candidate in candidates:
        equal = next((c for c in first if _equal(c.qparams, candidate.qparams)), None)
        if equal is None:
            first.append(candidate)
        else:
            twins[id(candidate)] = equal
    return twins


def _clearly_worse(losses: list[float], best: list[float], margin: float = 0.0) -> bool:
    """Whether the mean difference on the same samples is clearly above ``margin``."""
    if not isfinite(sum(losses)) or not isfinite(sum(best)):
        return isfinite(sum(best))
    differences = [x - y for x, y in zip(losses, best, strict=True)]
    error = stdev(differences) / sqrt(len(differences))
    return mean(differences) - margin > STANDARD_ERRORS * error


def _equal(first: QParams, second: QParams) -> bool:
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
