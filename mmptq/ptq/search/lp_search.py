"""The search for the best exponents, layer by layer."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.layer_state import LayerState
from mmptq.ptq.replay.replay import Replay
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.quantization import FakeQuantizer, QuantizationError

from .lp_candidates import Candidate, LayerInputs, choose, observed_candidates, weight_candidates

SLOTS = dict(weight='weight_quantizer', input='input_quantizer')


@dataclass
class SearchSettings:
    """How exponents are chosen; see :class:`LpSelector`.

    Attributes:
        exponents (list[float]): Candidates, in the order in which they are tried.
        fractions (Tensor, optional): (T,) of the range to try for a weight by the error of the
            layer's output; None measures the error of the weight itself.
        search_samples (int): Samples on which errors of outputs are measured.
        tolerance (float): Share by which a loss has to be smaller to be better.
        fast (bool): Whether shortcuts are taken.
    """

    exponents: list[float]
    fractions: Tensor | None
    search_samples: int
    tolerance: float
    fast: bool


class LpSearch:
    """The search on calibration samples.

    Args:
        settings (SearchSettings): The settings.
        teacher (TeacherOutputs): Loss and targets; the model's quantizers are off except for the
            layers that are done.

    Attributes:
        count (int): Number of samples with a target, in all processes.
        own (dict[int, int]): Samples of this process by their place among these.
    """

    def __init__(self, settings: SearchSettings, teacher: TeacherOutputs):
        self.settings = settings
        self.teacher = teacher
        self.count = len(teacher.everywhere)
        places = map(teacher.everywhere.index, parallel.shard_indices(teacher.found))
        self.own = dict(zip(places, teacher.found, strict=True))
        step = max(1, self.count // settings.search_samples)
        self.kept = set(range(0, self.count, step)[: settings.search_samples])

    def layer(self, replay: Replay, unit: LayerState, pending: set[nn.Module]) -> dict[str, Any]:
        """Choose the exponents of a layer, set its scales and turn its quantizers on.

        Args:
            replay (Replay): Runs ``raw_outputs`` of the samples that have a target. Place 0 is
                the first sample of all processes, then come the other ones of this process.
            unit (LayerState): The layer; gets ``p``.
            pending (set[nn.Module]): This layer and those that are processed later.

        Returns:
            dict: Results for 'weight' and 'input', where they are quantized, as plain data; empty
            where the outputs do not depend on the layer.
        """
        inputs = LayerInputs(unit.module, self.kept)
        places = self.places()

        def observe(index: int, args: tuple) -> None:
            if places[index] in self.own:
                inputs.take(places[index], args)

        if not replay.prepare(unit.module, pending, observe):
            return {}
        inputs.merge(unit.module.weight.device)
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
                lambda place: self._loss(place, replay),
                self.count,
                self.settings.fast,
                self.settings.tolerance,
                self.own,
            )
            if best is None:
                raise QuantizationError(
                    f"the detection output loss of '{unit.name}' is NaN for every exponent: check "
                    'the float weights, or keep the layer float with a rule'
                )
            found[name] = _report(best, candidates)
        unit.p = next(entry['p'] for entry in found.values())
        return found

    def places(self) -> list[int]:
        """Places of the samples that are replayed here: the first of all, and the own ones.

        All processes trace the network on the same sample, so that they agree on what runs.
        """
        return sorted({0, *self.own})

    def _loss(self, place: int, replay: Replay) -> float:
        raw = replay.run(self.places().index(place))
        return float(self.teacher.distance(self.own[place], raw))

    def _candidates(self, name: str, unit: LayerState, inputs: LayerInputs) -> list[Candidate]:
        exponents = self.settings.exponents
        if name == 'input':
            return observed_candidates(inputs.observer, exponents)
        return weight_candidates(unit.module, inputs, exponents, self.settings.fractions)


def _report(best: Candidate, candidates: list[Candidate]) -> dict[str, Any]:
    return dict(
        p=best.p,
        loss=best.loss,
        scale=best.qparams[0].tolist(),
        zero_point=best.qparams[1].tolist(),
        candidates=[candidate.to_dict() for candidate in sorted(candidates, key=lambda c: c.p)],
    )
