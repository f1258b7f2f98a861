"""One run of a reconstruction: its settings, applied to a model and calibration samples."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import nn

from mmptq.adapters import Adapter
from mmptq.losses import TaskLoss
from mmptq.ptq import parallel
from mmptq.ptq.build import build_component
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.ptq.recording.unit_data import UnitEntries
from mmptq.ptq.recording.unit_gradients import UnitGradients
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.teacher.gradients import Gradients, collect_gradients
from mmptq.ptq.teacher.importance import Importance
from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.quantization import FakeQuantizer, quantizers_off
from mmptq.utils.seeds import seeded, stream_seed
from mmptq.utils.sparse_rows import RowsDifferError

from .training_progress import TrainingProgress
from .unit import Unit
from .unit_objective import UnitObjective
from .unit_quantizers import UnitQuantizers
from .unit_training import LearningError, TrainingSettings, mean_loss, train_unit


@dataclass(frozen=True)
class ReconstructionSettings:
    """What is learned on what; see :class:`Reconstructor`.

    Attributes:
        training (TrainingSettings): How a unit is learned.
        loss (dict, optional): Config of the local loss.
        task_loss (dict, optional): Config of the loss on head outputs.
        importance (Importance, optional): Weights of the local errors.
        cache_budget (int): Bytes of memory for everything that is recorded.
    """

    training: TrainingSettings
    loss: dict[str, Any] | None
    task_loss: dict[str, Any] | None
    importance: Importance | None
    cache_budget: int


class Reconstruction:
    """Learns the units of a model one after the other.

    Args:
        settings (ReconstructionSettings): The settings.
        ctx (PTQContext): The run.
        samples (ActivationCache): Batches as the model's forward takes them.
        units (list[Unit]): In order of execution.
        forward (Callable): Runs the model on a batch.
        adapter (Adapter, optional): Adapter of the model; needed for losses on head outputs.
    """

    def __init__(
        self,
        settings: ReconstructionSettings,
        ctx: PTQContext,
        samples: ActivationCache,
        units: list[Unit],
        forward: Callable[[Any], Any],
        adapter: Adapter | None,
    ):
        self.settings, self.ctx, self.samples, self.units = settings, ctx, samples, units
        self.forward, self.adapter = forward, adapter
        self.importance = settings.importance
        keep_float = settings.training.drop_prob > 0
        keep_target = settings.loss is not None
        self.recorder = UnitRecorder(
            ctx.model, samples, forward, keep_float, keep_target, units, self._share(4)
        )
        self.task: TaskObjective | None = None
        self.importance_task: TaskObjective | None = None
        self._gradients: Gradients | None = None

    def run(self) -> list[dict[str, Any]]:
        """Learn all units; finished ones of a resumed run are taken as they were.

        Returns:
            list[dict]: For each unit its name, the loss before and after, and a note.
        """
        with ExitStack() as stack:
            stack.enter_context(self.recorder)
            self._make_tasks(stack)
            if self.importance and not self.importance.per_unit:
                self._gradients = stack.enter_context(self._make_gradients(self._share(8)))
                with quantizers_off(self.ctx.model):
                    self._collect()
            rows = self._run()
            for task in filter(None, {self.task, self.importance_task}):
                self.ctx.record_all(task.teacher.loss.records())
            return rows

    def _share(self, part: int) -> int:
        return max(1, self.settings.cache_budget // part)

    def _make_tasks(self, stack: ExitStack) -> None:
        """Float targets of the losses on head outputs, once for equal losses."""
        settings = self.settings
        layers = [layer for unit in self.units for layer in unit.layers.values()]
        weighed = settings.importance and settings.importance.loss

        def task(cfg: dict[str, Any], where: str, required: bool) -> TaskObjective:
            loss = build_component(cfg, f'Reconstructor: {where}', MODELS, TaskLoss)
            model, share = self.ctx.model, self._share(8)
            teacher = TeacherOutputs(model, self.adapter, loss, self.samples, share, required)
            return TaskObjective(stack.enter_context(teacher), layers)

        if settings.task_loss:
            required = settings.loss is None or weighed == settings.task_loss
            self.task = task(settings.task_loss, 'task_loss', required)
        if weighed:
            same = weighed == settings.task_loss
            self.importance_task = self.task if same else task(weighed, 'importance.loss', True)

    def _make_gradients(self, budget: int) -> Gradients:
        return Gradients(budget, self.samples.directory)

    def _collect(self) -> None:
        modules = {unit.name: unit.module for unit in self.units}
        teacher = self.importance_task.teacher
        collect_gradients(teacher, modules, self._gradients, self.importance.sides)
        self.importance.fit(self._gradients)
        rows = self.importance.report()
        if rows:
            self.ctx.record('importance', rows)

    def _run(self) -> list[dict[str, Any]]:
        rows, start = [], time.perf_counter()
        learned: set[FakeQuantizer] = set()
        for index, unit in enumerate(self.units):
            quantizers = UnitQuantizers(unit, learned)
            learned.update(quantizers.weights.values())
            result = self.ctx.resume and self.ctx.resume.load(unit.name)
            if result is None:
                result = self._learn(unit, quantizers, stream_seed(self.ctx.seed, index))
                if self.ctx.resume:
                    self.ctx.resume.save(unit.name, result)
            quantizers.load_state(result['quantizers'])
            self.recorder.finish(unit)
            if self.task:
                self.task.teacher.loss.load_state_dict(result['task_loss'])
            for task in filter(None, (self.task, self.importance_task)):
                task.finish(unit)
            row = {key: result[key] for key in ('before', 'after', 'note')}
            rows.append(dict(unit=unit.name or 'network', **row))
            left = (time.perf_counter() - start) / (index + 1) * (len(self.units) - index - 1)
            self._report(index, rows[-1], left)
        return rows

    def _report(self, index: int, row: dict[str, Any], left: float) -> None:
        text = f'unit {index + 1}/{len(self.units)} {row["unit"]}: '
        if row['before'] is None:
            text += 'not learned'
        else:
            text += f'loss {row["before"]:.4g} -> {row["after"]:.4g}'
        if row['note']:
            self.ctx.logger.warning(f'{text}, {row["note"]}')
        self.ctx.logger.info(f'{text}, {left:.0f} s left')

    def _learn(self, unit: Unit, quantizers: UnitQuantizers, seed: int) -> dict[str, Any]:
        """Learn one unit; returns what is kept of it, and the loss before and after."""
        replay_budget, gradient_budget, budget = self._unit_budgets()
        with ExitStack() as stack:
            devices = [device_of(self.ctx.model)]
            stack.enter_context(seeded(parallel.own_seed(seed), devices))
            cache = stack.enter_context(ActivationCache(budget, self.samples.directory))
            gradients = stack.enter_context(self._make_gradients(gradient_budget))
            objective = self._objective(unit)
            entries, problem = self._record(unit, objective, cache, gradients)
            if problem is not None:
                return self._left_alone(quantizers, problem)
            if self.task:
                stack.enter_context(self.task.replaying(unit, replay_budget))
            original = quantizers.state()
            before = mean_loss(entries, objective)
            after, failure = self._train(unit, quantizers, entries, objective, before)
        kept = after <= before
        what = 'is worse' if after > before else 'is not finite'
        note = f'rolled back: the loss {what} after learning'
        note = f'left alone: {failure}' if failure else note
        return dict(
            before=before,
            after=before if failure else after,
            note='' if kept else note,
            quantizers=quantizers.state() if kept else original,
            task_loss=dict(self.task.teacher.loss.state_dict()) if self.task else {},
        )

    def _left_alone(self, quantizers: UnitQuantizers, problem: str) -> dict[str, Any]:
        """The result of a unit that is not learned."""
        return dict(
            before=None,
            after=None,
            note=f'left alone: {problem}',
            quantizers=quantizers.state(),
            task_loss=dict(self.task.teacher.loss.state_dict()) if self.task else {},
        )

    def _unit_budgets(self) -> tuple[int, int, int]:
        """Memory for replayed outputs, for gradients, and for entries of a unit."""
        tasks = {id(task): task for task in (self.task, self.importance_task) if task}
        used = self.recorder.budget_bytes + self.samples.used_bytes
        used += sum(task.teacher.used_bytes for task in tasks.values())
        used += self._gradients.used_bytes if self._gradients else 0
        left = max(4, self.settings.cache_budget - used)
        replay = left // 4 if self.task else 0
        gradients = left // 4 if self.importance and self.importance.per_unit else 0
        return replay, gradients, left - replay - gradients

    def _train(
        self,
        unit: Unit,
        quantizers: UnitQuantizers,
        entries: UnitEntries,
        objective: UnitObjective,
        before: float,
    ) -> tuple[float, str | None]:
        """The loss after learning; why nothing could be learned, or None."""
        if before == 0:
            return before, None  # nothing is lost, so that there is nothing to learn
        try:
            settings, progress = self.settings.training, self._progress(unit)
            train_unit(quantizers, entries, objective, settings, before, progress)
            return mean_loss(entries, objective), None
        except LearningError as error:
            return float('nan'), error.reason

    def _progress(self, unit: Unit) -> TrainingProgress | None:
        """State within a unit that takes minutes: the whole network."""
        if unit.name or not self.ctx.resume:
            return None
        loss = self.task.teacher.loss if self.task else None
        return TrainingProgress(self.ctx.resume, 'step', loss, device_of(self.ctx.model))

    def _objective(self, unit: Unit) -> UnitObjective:
        local = self.settings.loss
        if local is not None:
            states = [self.ctx.layers[name] for name in unit.layers if name in self.ctx.layers]
            exponents = [state.p for state in states if state.p is not None]
            local = dict(local, **(dict(p=exponents[-1]) if exponents else {}))
            local = build_component(local, 'Reconstructor: loss', MODELS, nn.Module)
        return UnitObjective(unit, unit.module if unit.name else self.forward, local, self.task)

    def _record(
        self, unit: Unit, objective: UnitObjective, cache: ActivationCache, gradients: Gradients
    ) -> tuple[UnitEntries, str | None]:
        """Record all samples, and fit an importance that looks at each unit by itself.

        Returns:
            tuple: The entries; why they cannot be compared in some process, or None.
        """
        importance, task = self.importance, self.importance_task
        found = task.teacher.found if task else ()
        entries = UnitEntries(unit, self.samples, cache, importance, found)
        per_unit = importance is not None and importance.per_unit
        at_unit = UnitGradients(unit, task, self.recorder) if per_unit else None
        problem = None
        try:
            for index, entry in enumerate(self.recorder.record_unit(unit)):
                cache.append(entry)
                if index == 0:
                    problem = objective.problem(entry)
                if per_unit and problem is None and index in found:
                    with torch.no_grad():
                        outputs = objective.outputs(entries.with_input(entry), 0.0)
                    gradients.append(unit.name, index, at_unit.of(index, outputs))
        except RowsDifferError as error:
            problem = str(error)
        problem = next((text for text in parallel.gather(problem) if text is not None), None)
        if problem is not None:
            return entries, problem
        if per_unit:
            importance.fit(gradients)
        return entries, None
