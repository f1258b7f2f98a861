"""PTQ as a loop: it consumes training data and produces weights."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import LOOPS, TASK_UTILS
from mmengine.runner import BaseLoop, Runner

from mmptq.ptq.calibration_data import calibration_loader, check_overlap
from mmptq.ptq.context import PTQContext
from mmptq.ptq.policy import apply_policy
from mmptq.ptq.resume import ResumeStore, digest
from mmptq.quantization import QuantizationError, apply_plan, freeze, make_plan, quantized_layers
from mmptq.quantization.limits import SchemeLimits
from mmptq.report import comparison_rows, coverage_rows, format_table, model_size
from mmptq.utils.files import write_json
from mmptq.utils.models import unwrap

from .checkpoint import plain, save_quantized

CHECKPOINT_NAME = 'quantized.pth'


@LOOPS.register_module()
class PTQLoop(BaseLoop):
    """Quantizes the model on the train split and evaluates it with the stock val loop.

    The config of the runner holds, at its top level, ``quantizer`` (bits, ranges, rules: see
    ``mmptq.quantization.placement.place``), ``stages`` (a list of configs of stages), and
    optionally ``ptq`` (the model's own policy: see ``mmptq.ptq.policy.apply_policy``),
    ``calibration`` with ``num_samples`` (default 256) and ``overlap`` ('error', or 'warn' to
    accept calibration samples that the evaluation data holds too), and ``backend`` (what an
    engine can run: see ``mmptq.quantization.limits.SchemeLimits``), which the scheme is fitted
    to.

    Args:
        runner (Runner): The runner.
        dataloader (dict): Config of the train dataloader. Its dataset is loaded through the test
            pipeline, without the wrappers that mix or repeat samples.
        val_float (bool): Whether the float model is evaluated first. Defaults to True.

    Attributes:
        resume (bool): Whether the run goes on where an earlier one in the same work directory
            stopped. Set before it runs: the config, which the checkpoint holds, is the same.

    Note:
        Writes ``quantized.pth``, ``coverage.json`` and ``result.json`` to the work directory.
    """

    def __init__(self, runner: Runner, dataloader: dict[str, Any], val_float: bool = True):
        apply_policy(runner.cfg)
        self.quantizer = _required(runner.cfg, 'quantizer', 'a scheme')
        self.limits = None
        if runner.cfg.get('backend'):
            self.limits = SchemeLimits.from_config(runner.cfg.backend)
            self.quantizer = self.limits.constrain(self.quantizer)
        self.stages = [_build_stage(stage) for stage in _required(runner.cfg, 'stages', 'a recipe')]
        self.calibration = _calibration_config(runner.cfg.get('calibration') or {})
        self.val_float = val_float
        self.resume = False
        # The float weights come from a checkpoint; initialising could download others first.
        unwrap(runner.model).init_weights = lambda: None
        # A PTQ run has no epochs to keep checkpoints of, and no best one.
        runner.hooks[:] = [hook for hook in runner.hooks if not isinstance(hook, CheckpointHook)]
        super().__init__(
            runner,
            calibration_loader(
                dataloader, runner.cfg, self.calibration['num_samples'], runner.seed
            ),
        )

    # What mmengine's runner asks of a train loop.
    max_epochs = epoch = max_iters = iter = 0

    def run(self) -> torch.nn.Module:
        """Quantize, save, evaluate; returns the quantized model."""
        runner = self.runner
        ctx = self.make_context()
        ctx.resume = self._resume_store(ctx)
        self._check_overlap()
        self.plan(ctx)
        before = runner.val_loop.run() if self.val_float and runner.val_loop else {}
        start = time.perf_counter()
        self.quantize(ctx)
        seconds = time.perf_counter() - start
        path = ctx.work_dir / CHECKPOINT_NAME
        meta = self.dataloader.dataset.dataset.metainfo
        save_quantized(ctx.model, ctx.plan, path, meta, runner.cfg.pretty_text)
        runner.logger.info(f'quantized checkpoint: {path}')
        after = runner.val_loop.run() if runner.val_loop else {}
        self._report(ctx, before, after, seconds)
        ctx.resume.clear()
        return runner.model

    def make_context(self) -> PTQContext:
        """What the stages work on: the model and the calibration data."""
        model = unwrap(self.runner.model).eval()
        return PTQContext(model, self.dataloader, Path(self.runner.work_dir), self.runner.seed)

    def _resume_store(self, ctx: PTQContext) -> ResumeStore:
        cfg = self.runner.cfg
        keys = ('model', 'quantizer', 'stages', 'calibration', 'backend', 'train_dataloader')
        texts = {f"'{key}' in its config": plain(cfg.get(key)) for key in keys}
        texts = {key: json.dumps(value, sort_keys=True) for key, value in texts.items()}
        texts['seed'] = str(ctx.seed)
        texts['float checkpoint'] = digest(ctx.model)
        return ResumeStore(ctx.work_dir / 'resume', texts, self.resume)

    def quantize(self, ctx: PTQContext) -> None:
        """Carry out the plan of the context, run the stages, freeze the weights."""
        # Activation files of a run that was killed.
        shutil.rmtree(ctx.work_dir / 'cache', ignore_errors=True)
        apply_plan(ctx.model, ctx.plan)
        ctx.make_layer_states()
        for index, stage in enumerate(self.stages):
            if ctx.resume is not None:
                ctx.resume.stage = f'{index}-{type(stage).__name__}'
            stage.run(ctx)
        self._check_calibrated(ctx)
        freeze(ctx.model)

    def _check_overlap(self) -> None:
        if self.runner.val_loop is not None:
            data = self.dataloader.dataset
            evaluation = self.runner.val_dataloader.dataset
            only_warn = self.calibration['overlap'] == 'warn'
            check_overlap(data.dataset, data.indices, evaluation, only_warn)

    def plan(self, ctx: PTQContext) -> None:
        """Decide what is folded and quantized; logs and saves the coverage table."""
        first = ctx.first_batch()
        ctx.plan = make_plan(ctx.model, self.quantizer, lambda: ctx.predict(first))
        if self.limits is not None:
            self.limits.check_plan(ctx.plan.layers)
        rows = coverage_rows(ctx.plan)
        count = sum(layer.quantized for layer in ctx.plan.layers)
        float_count = len(ctx.plan.layers) - count + len(ctx.plan.unsupported)
        ctx.logger.info(
            f'{count} layers are quantized, {float_count} stay float, '
            f'{len(ctx.plan.folded)} BatchNorms are folded, {len(ctx.plan.unfolded)} not:\n'
            + format_table(rows)
        )
        write_json(rows, ctx.work_dir / 'coverage.json')

    @staticmethod
    def _check_calibrated(ctx: PTQContext) -> None:
        for name, layer in quantized_layers(ctx.model).items():
            for slot in (layer.weight_quantizer, layer.input_quantizer):
                if not getattr(slot, 'calibrated', True):
                    raise QuantizationError(
                        f"no stage calibrated '{name}': add dict(type='Calibrator') to stages"
                    )

    def _report(self, ctx: PTQContext, before: dict, after: dict, seconds: float) -> None:
        float_bytes, quantized_bytes = model_size(ctx.model)
        rows = comparison_rows(before, after)
        ctx.logger.info(
            f'result\n{format_table(rows)}\n'
            f'weights: {float_bytes / 2**20:.2f} MB in float32, {quantized_bytes / 2**20:.2f} MB '
            f'quantized; quantized in {seconds:.1f} s with {len(self.dataloader)} samples'
        )
        write_json(
            dict(
                float=before,
                quantized=after,
                float_bytes=float_bytes,
                quantized_bytes=quantized_bytes,
                seconds=seconds,
                num_samples=len(self.dataloader),
            ),
            ctx.work_dir / 'result.json',
        )


def _required(cfg: Any, key: str, what: str) -> Any:
    if not cfg.get(key):
        raise QuantizationError(
            f"the config has no '{key}': inherit {what} from configs/_base_, or name one with "
            f'--{what.split()[-1]}'
        )
    return cfg[key]


def _build_stage(cfg: dict[str, Any]) -> Any:
    if cfg.get('type') not in TASK_UTILS:
        raise QuantizationError(
            f"there is no stage '{cfg.get('type')}': check stages in the config"
        )
    return TASK_UTILS.build(cfg)


def _calibration_config(cfg: dict[str, Any]) -> dict[str, Any]:
    known = dict(num_samples=256, overlap='error')
    for key in cfg:
        if key not in known:
            raise QuantizationError(
                f"calibration has an unknown key '{key}': use {', '.join(known)}"
            )
    known.update(cfg)
    if known['overlap'] not in ('error', 'warn'):
        raise QuantizationError(f"calibration.overlap='{known['overlap']}': use 'error' or 'warn'")
    return known
