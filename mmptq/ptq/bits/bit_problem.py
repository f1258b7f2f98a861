"""What a bit allocation chooses from: groups of layers, their widths, losses and costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from mmptq.ptq.context import PTQContext
from mmptq.quantization import QScheme
from mmptq.quantization.placement import LayerPlan

from .integer_programme import Option
from .layer_costs import bits_of, connected, input_bytes, measure_costs, weight_bytes
from .layer_scores import LayerScores, score_key
from .score_layers import Wanted, with_bits

WEIGHT_BITS, ACT_BITS, SIZE, BIT_OPS = 'average_bits', 'average_act_bits', 'size', 'bit_ops'
Schemes = tuple[QScheme | None, QScheme | None]  # of weight and input; None is float


@dataclass
class BitChoice:
    """One way to quantize a group: the schemes of its layers.

    Attributes:
        text (str): Like '4 bits', or 'w4a8'.
        schemes (dict[str, Schemes]): By layer.
    """

    text: str
    schemes: dict[str, Schemes]


@dataclass
class BitGroup:
    """Layers that get one choice, because they share a weight or an input.

    Attributes:
        layers (list[str]): Names.
        choices (list[BitChoice]): From few to many bits.
        fixed (bool): Whether there is nothing to choose, so that nothing is measured.
    """

    layers: list[str]
    choices: list[BitChoice]
    fixed: bool


class BitProblem:
    """The groups of a model with their choices; one sample runs through it.

    Args:
        ctx (PTQContext): Converted.
        weight_bits (Sequence[int]): Candidates for weights, ascending; none keeps the planned ones.
        act_bits (Sequence[int]): The same for inputs. With candidates, layers that read the same
            tensor get the same width.
        fixed (set[str]): Layers that keep what was planned.

    Attributes:
        costs (dict[str, LayerCost]): By layer.
        owners (dict[str, str]): The first layer with the same weight, by layer.
        groups (list[BitGroup]): In order of execution.
    """

    def __init__(
        self,
        ctx: PTQContext,
        weight_bits: Sequence[int],
        act_bits: Sequence[int],
        fixed: set[str],
    ):
        self.ctx, self.weight_bits, self.act_bits = ctx, weight_bits, act_bits
        self.plans = {plan.name: plan for plan in ctx.plan.layers if plan.name in ctx.layers}
        modules = {name: ctx.layers[name].module for name in self.plans}
        sample = ctx.first_batch()
        self.costs = measure_costs(modules, lambda: ctx.predict(sample), bool(act_bits))
        first: dict[int, str] = {}
        self.owners = {
            name: first.setdefault(id(module.weight), name) for name, module in modules.items()
        }
        self.groups = [self._group(names, fixed) for names in self._connected()]

    def _connected(self) -> list[list[str]]:
        keys = []
        for name in self.plans:
            shared = {('weight', self.owners[name])}
            if self.act_bits:
                shared |= {('input', source) for source in self.costs[name].sources}
            keys.append((name, frozenset(shared)))
        return connected(keys)

    def _group(self, names: list[str], fixed: set[str]) -> BitGroup:
        members = {name: self.plans[name] for name in names}
        planned = BitChoice('as planned', {n: (p.weight, p.act) for n, p in members.items()})
        if not fixed.isdisjoint(names):
            return BitGroup(names, [planned], True)
        choices = list(self._choices(members))
        return BitGroup(names, choices, len(choices) == 1)

    def _choices(self, members: dict[str, LayerPlan]) -> Iterator[BitChoice]:
        weights = self.weight_bits if any(plan.weight for plan in members.values()) else ()
        acts = self.act_bits if any(plan.act for plan in members.values()) else ()
        needed = {} if self.ctx.limits is None else self.ctx.limits.weight
        for weight, act in product(weights or [None], acts or [None]):
            schemes = {}
            for name, plan in members.items():
                w, a = plan.weight, plan.act
                w = w if w is None or weight is None else with_bits(w, weight, needed)
                a = a if a is None or act is None else replace(a, bits=act)
                schemes[name] = w, a
            texts = {(False, True): f'{weight} bits', (True, False): f'input {act} bits'}
            yield BitChoice(texts.get((weight is None, act is None), f'w{weight}a{act}'), schemes)

    def wanted(self) -> Wanted:
        """The grids that have to be measured, by layer."""
        wanted: dict[str, dict[tuple[str, QScheme], None]] = {}
        for choice in (c for group in self.groups if not group.fixed for c in group.choices):
            for name, (weight, act) in choice.schemes.items():
                grids = wanted.setdefault(name, {})
                if self.weight_bits and weight is not None and self.owners[name] == name:
                    grids['weight', weight] = None
                if self.act_bits and act is not None:
                    grids['input', act] = None
        return {name: list(grids) for name, grids in wanted.items()}

    def options(self, scores: LayerScores) -> list[list[Option]]:
        """Losses and costs of the choices of each group.

        A measured loss that grows with the bits is noise: a choice counts as no worse than one
        with fewer bits. What was not measured counts as 0.

        Args:
            scores (LayerScores): The measured losses.
        """
        return [self._options_of(group, scores) for group in self.groups]

    def _options_of(self, group: BitGroup, scores: LayerScores) -> list[Option]:
        options = [self._option(choice, scores) for choice in group.choices]
        if group.fixed:
            return [Option(0.0, options[0].costs)]
        return [
            Option(min(o.loss for o in options if _no_wider(o, option)), option.costs)
            for option in options
        ]

    def _option(self, choice: BitChoice, scores: LayerScores) -> Option:
        loss, cost = 0.0, dict.fromkeys((WEIGHT_BITS, ACT_BITS, SIZE, BIT_OPS), 0.0)
        for name, (weight, act) in choice.schemes.items():
            own, layer = self.costs[name], self.ctx.layers[name].module
            if self.owners[name] == name:
                cost[SIZE] += weight_bytes(layer, weight)
                if weight is not None:
                    loss += scores.get(name, score_key('weight', weight)) or 0.0
                    cost[WEIGHT_BITS] += own.weights * weight.bits
            cost[SIZE] += input_bytes(layer, act)
            if act is not None:
                loss += scores.get(name, score_key('input', act)) or 0.0
                cost[ACT_BITS] += own.inputs * act.bits
            cost[BIT_OPS] += own.macs * bits_of(weight) * bits_of(act)
        return Option(loss, cost)

    def planned_bytes(self) -> float:
        """What the layers take in the checkpoint with the schemes that they have now."""
        planned = BitChoice('', {name: (p.weight, p.act) for name, p in self.plans.items()})
        return self._option(planned, LayerScores({})).costs[SIZE]

    def num_weights(self) -> int:
        """Quantized weights, those that layers share once."""
        return sum(
            self.costs[name].weights
            for name, plan in self.plans.items()
            if self.owners[name] == name and plan.weight is not None
        )

    def num_inputs(self) -> float:
        """Values of quantized layer inputs on one sample."""
        return sum(self.costs[name].inputs for name, p in self.plans.items() if p.act is not None)


def _no_wider(first: Option, second: Option) -> bool:
    return all(first.costs[key] <= second.costs[key] for key in (WEIGHT_BITS, ACT_BITS))
