"""Budgets of a bit allocation, as users write them and in numbers."""

import re
from collections.abc import Sequence
from typing import Any

from mmptq.quantization import model_size
from mmptq.utils.errors import QuantizationError

from .bit_problem import ACT_BITS, BIT_OPS, SIZE, WEIGHT_BITS, BitProblem
from .integer_programme import Option, smallest_cost, total_cost

NAMES = {
    WEIGHT_BITS: 'average bits',
    ACT_BITS: 'average input bits',
    SIZE: 'size',
    BIT_OPS: 'bit operations',
}
BYTES = {'': 1, 'B': 1, 'KB': 2**10, 'MB': 2**20, 'GB': 2**30}
COUNTS = {'': 1, 'K': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}
EXAMPLES = {
    WEIGHT_BITS: '5',
    ACT_BITS: '6',
    SIZE: "4MB, 500KB, or '25%' of the float weights",
    BIT_OPS: "'20%' of those with 8 bits throughout, or a number like 150G",
}
NUMBER = re.compile(r'(?P<value>\d+(\.\d*)?|\.\d+) ?(?P<unit>[A-Za-z]*|%)')


class Budgets:
    """Limits of sums over layers.

    Args:
        values (dict[str, Any]): By name: 'average_bits', 'average_act_bits', 'size', 'bit_ops';
            None is no limit.

    Raises:
        QuantizationError: If there is none, or one cannot be read.
    """

    def __init__(self, values: dict[str, Any]):
        self.values = {name: value for name, value in values.items() if value is not None}
        if not self.values:
            raise QuantizationError(f'there is no budget: give {", ".join(values)}')
        for name, value in self.values.items():
            _parse(name, value, 1.0)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    @property
    def label(self) -> str:
        """In words, for notes and messages."""
        return ', '.join(f'{NAMES[name]} {value}' for name, value in self.values.items())

    def limits(self, problem: BitProblem) -> dict[str, float]:
        """The limits in the units of the costs of options."""
        wholes = self._wholes(problem)
        limits = {name: _parse(name, value, wholes[name]) for name, value in self.values.items()}
        if WEIGHT_BITS in limits:
            limits[WEIGHT_BITS] *= problem.num_weights()
        if ACT_BITS in limits:
            limits[ACT_BITS] *= problem.num_inputs()
        if SIZE in limits:
            limits[SIZE] -= self._other_bytes(problem)
        return limits

    def _wholes(self, problem: BitProblem) -> dict[str, float]:
        """What 100 % is."""
        macs = sum(cost.macs for cost in problem.costs.values())
        size = model_size(problem.ctx.model)[0]
        return {WEIGHT_BITS: 0.0, ACT_BITS: 0.0, SIZE: size, BIT_OPS: 64 * macs}

    @staticmethod
    def _other_bytes(problem: BitProblem) -> float:
        """Everything in the checkpoint that no choice changes: biases, float layers."""
        return model_size(problem.ctx.model)[1] - problem.planned_bytes()

    def check_possible(self, problem: BitProblem, options: Sequence[Sequence[Option]]) -> None:
        """Refuse a budget that the narrowest widths exceed.

        Raises:
            QuantizationError: Names the smallest possible value.
        """
        for name, limit in self.limits(problem).items():
            smallest = smallest_cost(options, name)
            if smallest > limit:
                raise QuantizationError(
                    f'{NAMES[name]} {self.values[name]} is below the smallest possible, '
                    f'{self._text(name, smallest, problem, up=True)}: ask for that or more, or '
                    'allow narrower widths with weight_bits or act_bits of BitAllocation'
                )

    def used(
        self, problem: BitProblem, options: Sequence[Sequence[Option]], chosen: Sequence[int]
    ) -> dict[str, str]:
        """What a choice takes of each budget, in the form in which users write it."""
        return {
            name: self._text(name, total_cost(options, chosen, name), problem)
            for name in self.values
        }

    def _text(self, name: str, cost: float, problem: BitProblem, up: bool = False) -> str:
        if name == WEIGHT_BITS:
            return _rounded(cost / problem.num_weights(), up)
        if name == ACT_BITS:
            return _rounded(cost / problem.num_inputs(), up)
        if name == SIZE:
            size = cost + self._other_bytes(problem)
            unit = 'MB' if size >= BYTES['MB'] else 'KB'
            return _rounded(size / BYTES[unit], up) + unit
        return _rounded(100 * cost / self._wholes(problem)[BIT_OPS], up) + '%'


def _rounded(value: float, up: bool) -> str:
    """Two decimals; ``up`` gives a number that is not below the value."""
    text = f'{value:.2f}'
    return f'{value + 0.005:.2f}' if up and float(text) < value else text


def _parse(name: str, value: Any, whole: float) -> float:
    units = {SIZE: BYTES, BIT_OPS: COUNTS}.get(name, {'': 1})
    match = NUMBER.fullmatch(str(value).strip())
    unit = match and match['unit'].upper().replace('IB', 'B')
    percent = unit == '%' and name in (SIZE, BIT_OPS)
    if not match or not (percent or unit in units) or float(match['value']) <= 0:
        raise QuantizationError(f'{name}={value!r} cannot be used: write {EXAMPLES[name]}')
    return float(match['value']) * (whole / 100 if percent else units[unit])
