"""The search for remedies: what was tried, what it brought, and what is left."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mmptq.ptq.checks.layer_diagnosis import collect_facts
from mmptq.ptq.checks.layer_facts import LayerFacts
from mmptq.ptq.context import PTQContext
from mmptq.ptq.search.output_loss import IncomparableError, OutputLoss
from mmptq.ptq.stages.calibrator import Calibrator

from .snapshot import Snapshot

# A remedy stays where it takes off at least this share of the loss.
LEAST_GAIN = 0.05


@dataclass
class Tuning:
    """What remedies share.

    Attributes:
        ctx (PTQContext): The run.
        loss (OutputLoss): Distance of the outputs from the float ones.
        calibrator (Calibrator): Finds the ranges of layers that changed.
        target (float): Loss that is small enough.
        value (float): Present loss.
        facts (list[LayerFacts]): What is known of the layers in their present state.
        steps (list[dict]): What was tried: remedy, layers, before, after, kept.
        losses (dict[str, float]): Output loss of single layers, where it was measured.
    """

    ctx: PTQContext
    loss: OutputLoss
    calibrator: Calibrator
    target: float
    value: float = float('nan')
    facts: list[LayerFacts] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the present loss is small enough."""
        return self.value <= self.target

    def start(self) -> None:
        """Measure the loss and collect the facts."""
        self.value = self.measure()
        self.refresh()

    def measure(self) -> float:
        """Mean loss of the model as it stands."""
        return float(self.loss().mean())

    def refresh(self) -> None:
        """Collect the facts again after a change."""
        self.facts = collect_facts(self.ctx)

    def attempt(self, remedy: str, change: Callable[[], Iterable[str]]) -> bool:
        """Make a change, and undo it where the loss does not get smaller.

        Args:
            remedy (str): What it is, for the report and the coverage table.
            change (Callable): Makes it, and returns the names of the layers that changed.
        """
        snapshot, before = Snapshot(self.ctx), self.value
        names = sorted(set(change()))
        try:
            after = self.measure() if names else before
        except IncomparableError:
            snapshot.restore()
            raise
        kept = bool(names) and after < before * (1 - LEAST_GAIN)
        if kept:
            self.value = after
            self.explain(names, remedy)
        else:
            snapshot.restore()
        self.steps.append(dict(remedy=remedy, layers=names, before=before, after=after, kept=kept))
        return kept

    def explain(self, names: Iterable[str], remedy: str) -> None:
        """Note a remedy in the coverage table."""
        plans = {plan.name: plan for plan in self.ctx.plan.layers}
        for name in names:
            notes = [part for part in plans[name].reason.split('; ') if part]
            if f'auto: {remedy}' not in notes:
                plans[name].reason = '; '.join([*notes, f'auto: {remedy}'])
