"""The search for the best exponents of one layer after the other."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmptq.adapters import Adapter, HeadOutput
from mmptq.quantization import FakeQuantizer, QuantizationError

from .activation_cache import ActivationCache
from .lp_candidates import Candidate, LayerInputs, choose, observed_candidates, weight_candidates
from .replay import Replay
from .units import Unit

SLOTS = dict(weight='weight_quantizer', input='input_quantizer')


@dataclass
class SearchSettings:
    """How exponents are chosen; see :class:`LpSelector`.

    Attributes:
        loss (nn.Module): Loss of the outputs.
        exponents (list[float]): Candidates, in the order in which they are tried.
        fractions (Tensor, optional): (T,) of the range to try for a weight by the error of the
            layer's output; None measures the error of the weight itself.
        search_samples (int): Samples on which errors of outputs are measured.
        tolerance (float): Share by which a loss has to be smaller to be better.
        fast (bool): Whether shortcuts are taken.
    """

    loss: nn.Module
    exponents: list[float]
    fractions: Tensor | None
    search_samples: int
    tolerance: float
    fast: bool


class LpSearch:
    """Calibration samples with their targets, and the search on them.

    Args:
        settings (SearchSettings): The settings.
        adapter (Adapter): Of the model, whose quantizers are off but for layers that are done.
        batches (ActivationCache): Samples as the model's forward takes them.
        targets (ActivationCache): See ``pack``.
    """

    def __init__(
        self,
        settings: SearchSettings,
        adapter: Adapter,
        batches: ActivationCache,
        targets: ActivationCache,
    ):
        self.settings = settings
        self.adapter = adapter
        self.batches = batches
        self.targets = targets
        self._target: tuple[int, Any] = (-1, None)  # all candidates are tried on it
        step = max(1, len(batches) // settings.search_samples)
        self.kept = set(range(0, len(batches), step)[: settings.search_samples])

    def raw_outputs(self, sample: int) -> Any:
        """Raw outputs of the model as it is."""
        return self.adapter.raw_outputs(self.batches[sample])

    def layer(self, replay: Replay, unit: Unit, pending: set[nn.Module]) -> dict[str, Any]:
        """Choose the exponents of a layer, set its scales and turn its quantizers on.

        Args:
            replay (Replay): Runs ``raw_outputs``.
            unit (Unit): The layer; gets ``p``.
            pending (set[nn.Module]): This layer and those whose turn comes later.

        Returns:
            dict: For 'weight' and 'input', where they are quantized, what was found as plain
            data; empty where the outputs do not depend on the layer.
        """
        inputs = LayerInputs(unit.module, self.kept)
        if not replay.focus(unit.module, pending, inputs.take):
            return {}
        found = {}
        for name, slot in SLOTS.items():
            quantizer = getattr(unit.module, slot)
            if not isinstance(quantizer, FakeQuantizer):
                continue
            candidates = self._candidates(name, unit, inputs)
            quantizer.enabled = True
            best = choose(
                candidates,
                quantizer,
                lambda sample: self._evaluate(replay, sample),
                len(self.batches),
                self.settings.fast,
                self.settings.tolerance,
            )
            if best is None:
                raise QuantizationError(
                    f"the detection output loss of '{unit.name}' is NaN for every exponent: check "
                    'the float weights, or keep the layer float with a rule'
                )
            found[name] = _report(best, candidates)
        unit.p = next(entry['p'] for entry in found.values())
        return found

    def _candidates(self, name: str, unit: Unit, inputs: LayerInputs) -> list[Candidate]:
        exponents = self.settings.exponents
        if name == 'input':
            return observed_candidates(inputs.observer, exponents)
        return weight_candidates(unit.module, inputs, exponents, self.settings.fractions)

    def _evaluate(self, replay: Replay, sample: int) -> float:
        raw = replay.run(sample)
        if self._target[0] != sample:
            self._target = sample, unpack(self.targets[sample])
        batch = self.batches[sample]
        return float(self.settings.loss(self.adapter, raw, batch, self._target[1]))


def pack(target: Any) -> Any:
    """A target of a task loss as nested plain data and tensors."""
    if isinstance(target, list):
        return [vars(item) if isinstance(item, HeadOutput) else item for item in target]
    return target


def unpack(target: Any) -> Any:
    """Inverse of ``pack``."""
    if isinstance(target, list):
        return [HeadOutput(**item) if isinstance(item, dict) else item for item in target]
    return target


def _report(best: Candidate, candidates: list[Candidate]) -> dict[str, Any]:
    return dict(
        p=best.p,
        loss=best.loss,
        scale=best.qparams[0].tolist(),
        zero_point=best.qparams[1].tolist(),
        candidates=[candidate.to_dict() for candidate in sorted(candidates, key=lambda c: c.p)],
    )
