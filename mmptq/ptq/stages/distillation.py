"""The stage that trains a quantized network as a whole to reproduce the float outputs."""

import copy
import functools
import math
import time
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor

from mmptq.adapters import build_adapter
from mmptq.compat.spconv_cpu import remembered_pairs
from mmptq.losses import TaskLoss
from mmptq.ptq import parallel
from mmptq.ptq.build import build_component
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.teacher.backward import backward
from mmptq.ptq.teacher.task_objective import tell_step
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.units.find import find_units
from mmptq.ptq.units.student import Student
from mmptq.ptq.units.unit_quantizers import UnitQuantizers
from mmptq.ptq.variants.fresh_images import FreshImages, Variation
from mmptq.ptq.variants.fresh_teacher import FreshTeacher
from mmptq.ptq.variants.varied_images import varied_batch
from mmptq.utils.errors import QuantizationError
from mmptq.utils.seeds import stream_seed

from .stage import ADAPTER, FLOAT_MODEL, RANGES, Stage

# Steps between two lines of the log, and between two states that a killed run can go on from.
LOG_INTERVAL = 100
# If the first steps raise the loss to more than this many times its start, training starts again
# with the next of these shares of the learning rate.
DIVERGED = 3
RATES = (1.0, 0.1, 0.01)


@TASK_UTILS.register_module()
class Distillation(Stage):
    """Trains weights, biases and input scales of all quantized layers at once; needs no labels.

    The float model is the teacher: the loss compares the outputs of the heads on the calibration
    samples. Weights are trained as in quantization-aware training: the gradient passes straight
    through the rounding, and scales get that of LSQ (https://arxiv.org/abs/1902.08153). This
    takes more samples and time than reconstruction of units, and corrects what learned rounding
    cannot: errors of 4-bit layer inputs that add up over the network. If the loss did not
    decrease, everything is reverted.

    Note:
        Weights and biases change, so that the float model is no longer at hand: put it last.
        BatchNorms that were not folded and layers that stay float do not change.

    Args:
        loss (dict): Loss on head outputs, a subclass of ``TaskLoss``. Defaults to
            ``dict(type='DetectionOutputLoss')``.
        lr (float): Learning rate (Adam) of weight and bias of each layer, relative to the root
            mean square of the weight; it falls to zero along a cosine. Where the loss rises to
            three times its value in a hundred steps, training starts again with a tenth of the
            rate, twice at most. Defaults to 2e-3.
        act_lr (float, optional): The same for scales of layer inputs, relative to the scale; None
            leaves them. Defaults to 1e-3.
        num_iters (int): Steps. Defaults to 2500.
        batch_size (int): Samples per step, of all processes together. Defaults to 2.
        cache_budget (int): Bytes of memory for recorded samples and targets. Defaults to 4 GiB.
        copies (int): Copies of each image that are mirrored, moved, zoomed and lit otherwise (see
            ``varied_batch``), and learned from as well: against overfitting where there are few
            images. Detectors of images only. Defaults to 0.
        variants (dict, optional): Every step learns from new images, made of the calibration
            images and forgotten again; the float model gives the targets on them. The arguments
            of :class:`Variation`, ``dict()`` for its defaults; None learns from the calibration
            images themselves. Images of one size only. Defaults to None.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='Distillation', num_iters=2500)]
    """

    needs = frozenset({RANGES, FLOAT_MODEL, ADAPTER})
    breaks = frozenset({FLOAT_MODEL})

    def __init__(
        self,
        loss: dict[str, Any] = dict(type='DetectionOutputLoss'),  # noqa: B006 (never changed)
        lr: float = 2e-3,
        act_lr: float | None = 1e-3,
        num_iters: int = 2500,
        batch_size: int = 2,
        cache_budget: int = 4 * 2**30,
        copies: int = 0,
        variants: dict[str, float] | None = None,
    ):
        if min(num_iters, batch_size, cache_budget) < 1 or min(lr, copies) < 0:
            raise QuantizationError(
                f'Distillation got num_iters={num_iters!r}, batch_size={batch_size!r}, '
                f'cache_budget={cache_budget!r}, lr={lr!r}, copies={copies!r}: num_iters, '
                'batch_size and cache_budget must be >= 1, lr and copies >= 0'
            )
        self.loss = build_component(loss, 'Distillation: loss', MODELS, TaskLoss)
        self.lr, self.act_lr = lr, act_lr
        self.num_iters, self.batch_size = num_iters, batch_size
        self.cache_budget, self.copies = cache_budget, copies
        self.variation = None if variants is None else Variation.of(variants)

    def check(self, ctx: PTQContext) -> None:
        """Refuse a model that the loss is not for."""
        self.loss.check(build_adapter(ctx.model))

    def run(self, ctx: PTQContext) -> None:
        """Train, and keep the result if the loss became smaller."""
        adapter = build_adapter(ctx.model)
        directory, half = ctx.work_dir / 'cache', self.cache_budget // 2
        with ActivationCache(half, directory) as samples, remembered_pairs():
            for data in ctx.batches('load'):
                samples.append(data, exact=True)
            for index in range(self.copies * len(samples)):
                seed = parallel.own_seed(stream_seed(ctx.seed, index))
                samples.append(varied_batch(samples[index // self.copies], seed), exact=True)
            with TeacherOutputs(ctx.model, adapter, self.loss, samples, half, True) as teacher:
                before, after = self._distill(ctx, teacher)
        note = '' if after <= before else ', reverted: loss did not decrease'
        report = ctx.logger.warning if note else ctx.logger.info
        report(f'distillation: loss {before:.4g} -> {after:.4g}{note}')
        row = dict(before=before, after=after, kept=not note)
        ctx.record_all(self.loss.records() | dict(distillation=row))

    def _distill(self, ctx: PTQContext, teacher: TeacherOutputs) -> tuple[float, float]:
        """Train at the highest learning rate that works; the loss before and after."""
        with torch.no_grad():
            first = next(ctx.batches_at([teacher.everywhere[0] % len(ctx.loader)]))
            forward = teacher.adapter.raw_outputs
            (unit,) = find_units(ctx.model, lambda: forward(first), 'network')
        student = Student(ctx.model, UnitQuantizers(unit))
        original, loss_state = student.state(), copy.deepcopy(self.loss.state_dict())
        fresh = None
        if self.variation is not None:
            images = FreshImages(teacher.samples, self.variation, ctx.seed)
            fresh = FreshTeacher(teacher, images, functools.partial(student.as_float, original))
        before = _mean_loss(teacher)
        for rate in RATES:
            limit = math.inf if rate == RATES[-1] else DIVERGED * before
            if self._train(ctx, student, teacher, fresh, rate, limit):
                break
            student.load_state(original)
            self.loss.load_state_dict(loss_state)
        after = _mean_loss(teacher)
        if not after <= before:
            student.load_state(original)
        return before, after

    def _train(
        self,
        ctx: PTQContext,
        student: Student,
        teacher: TeacherOutputs,
        fresh: FreshTeacher | None,
        rate: float,
        limit: float,
    ) -> bool:
        """Train at a share of the learning rate; False if the loss rose above the limit at once."""
        first = 0
        state = ctx.resume and ctx.resume.load('step')
        if state:
            first, rate = state['step'], state['rate']
        with student.learning(rate * self.lr, self.act_lr) as optimizer:
            if state:
                student.load_progress(optimizer, state)
                self.loss.load_state_dict(state['loss'])
            start, total = time.perf_counter(), 0.0
            for step in range(first, self.num_iters):
                cosine = 0.5 * (1 + math.cos(math.pi * step / self.num_iters))
                for group in optimizer.param_groups:
                    group['lr'] = cosine * group['initial_lr']
                optimizer.zero_grad()
                loss, parts = self._backward(teacher, fresh, ctx.seed, step)
                learned = [x for group in optimizer.param_groups for x in group['params']]
                total += parallel.mean_gradients(learned, [loss])[0]
                if not math.isfinite(total):
                    ctx.logger.warning(f'distillation stops at step {step}: the loss is not finite')
                    return math.isinf(limit) or step >= LOG_INTERVAL
                optimizer.step()
                tell_step(teacher, step, parts)
                done = step + 1
                if done % LOG_INTERVAL or done == self.num_iters:
                    continue
                mean_loss, total = total / LOG_INTERVAL, 0.0
                left = (time.perf_counter() - start) / (done - first) * (self.num_iters - done)
                ctx.logger.info(
                    f'distillation {done}/{self.num_iters}: loss {mean_loss:.4g}, {left:.0f} s left'
                )
                if done == LOG_INTERVAL and mean_loss > limit:
                    ctx.logger.warning(
                        'distillation starts again with a smaller rate: '
                        f'with lr={rate * self.lr:.3g} the loss rose to {mean_loss:.4g}'
                    )
                    return False
                if ctx.resume:
                    progress = student.progress(optimizer)
                    progress['loss'] = dict(self.loss.state_dict())
                    ctx.resume.save('step', dict(step=done, rate=rate, **progress))
        return True

    def _backward(
        self, teacher: TeacherOutputs, fresh: FreshTeacher | None, seed: int, step: int
    ) -> tuple[float, list[dict[str, Tensor]]]:
        """Loss and gradients, of which the mean over processes is that of a step; its parts."""
        shares = parallel.shares(teacher.counts, self.batch_size, step)
        chosen = self._chosen(seed, step, len(teacher.found))[: shares[get_rank()]]
        chosen = [teacher.found[position] for position in chosen]
        groups = [[index] for index in chosen] if fresh is None else [chosen][: len(chosen)]
        total, losses = 0.0, []
        self.loss.train()
        for group in groups:
            if fresh is None:
                parts = teacher.parts(group[0], teacher.raw_outputs(group[0]))
            else:
                parts = fresh.parts(group, step)
            loss = sum(parts.values()) * len(group) / (sum(shares) / get_world_size())
            backward(loss)
            losses.append(parts)
            total += loss.item()
        self.loss.eval()
        return total, losses

    def _chosen(self, seed: int, step: int, count: int) -> list[int]:
        """Samples of a step; they depend on seed and step alone, as a resumed run needs."""
        own = parallel.own_seed(stream_seed(seed, step))
        generator = torch.Generator('cpu').manual_seed(own)
        return torch.randperm(count, generator=generator, device='cpu').tolist()


@torch.no_grad()
def _mean_loss(teacher: TeacherOutputs) -> float:
    """Mean loss over all samples, because earlier stages may overfit a part of them."""
    own = {
        place: teacher.distance(index, teacher.raw_outputs(index)).item()
        for place, index in zip(parallel.shard_indices(teacher.found), teacher.found, strict=True)
    }
    losses = {place: loss for part in parallel.gather(own) for place, loss in part.items()}
    return sum(losses[place] for place in teacher.everywhere) / len(losses)
