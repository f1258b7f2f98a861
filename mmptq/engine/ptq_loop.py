"""PTQ as a loop: it consumes training data and produces weights."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, Runner

from mmptq.ptq import parallel
from mmptq.ptq.calibration_data import calibration_loader, dropped_rows
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.calibration_settings import CalibrationSettings
from mmptq.ptq.inputs.model_inputs import device_of
from mmptq.ptq.inputs.overlap import check_overlap
from mmptq.ptq.launch import alone_in
from mmptq.ptq.policy import apply_policy
from mmptq.ptq.resume import ResumeStore, state_dict_sha256
from mmptq.ptq.run import plan_model, quantize_model, record_result
from mmptq.ptq.run_record import package_versions
from mmptq.ptq.stages.recipe import build_stages, check_adapter, check_stages
from mmptq.quantization import QuantizationError
from mmptq.quantization.limits import SchemeLimits
from mmptq.report import comparison_rows, coverage_text, format_table, lane_report
from mmptq.utils.models import unwrap
from mmptq.utils.trees import to_plain

from .checkpoint import save_quantized
from .evaluate import evaluate
from .evaluation_record import EvaluationRecord
from .poor_result import warn_of_drop
from .ptq_config import config_text
from .quantization_hook import QuantizationHook
from .run_report import report_run
from .training import LOOP_KEYS, drop_model_copies, leave_training

CHECKPOINT_NAME = 'quantized.pth'


@LOOPS.register_module()
class PTQLoop(BaseLoop):
    """Quantizes the model on the train split and evaluates it with the stock val loop.

    The config of the runner holds, at its top level, ``quantizer`` (bits, ranges, rules: see
    ``mmptq.quantization.placement.place``), ``stages`` (a list of configs of stages), and
    optionally ``ptq`` (the model's own policy: see ``mmptq.ptq.policy.apply_policy``),
    ``calibration`` (see ``CalibrationSettings``), and ``backend`` (what an engine can run: see
    ``mmptq.quantization.limits.SchemeLimits``), which the scheme is fitted to.

    Args:
        runner (Runner): The runner.
        dataloader (dict): Config of the train dataloader. Its dataset is loaded through the test
            pipeline, without the wrappers that mix or repeat samples. Not used where
            ``calibration.data`` names a folder.
        val_float (bool): Whether the float model is evaluated first. Defaults to True.
        lane_images (int): Calibration images on which float and quantized lanes are compared,
            where the model finds lanes; 0 compares none. Defaults to 16.
        report (bool): Whether the evaluations of both models are compared sample by sample, and
            ``report.html`` is written. Defaults to True.
        simulate_file (bool): Whether the quantized model is evaluated inside of ``simulation``.
            Defaults to True.

    Attributes:
        resume (bool): Whether the run goes on where an earlier one in the same work directory
            stopped. Set before it runs: the config, which the checkpoint holds, is the same.
        evaluations (EvaluationRecord): What the evaluations left of each sample.
        simulation (Callable[[PTQContext], ContextManager]): Within it the model computes what a
            file for the backend does. By default nothing changes. Set before it runs.

    Note:
        Writes ``quantized.pth``, ``coverage.json``, ``run.json``, ``samples.npz`` and
        ``report.html`` to the work directory.
    """

    quantizes = True

    def __init__(
        self,
        runner: Runner,
        dataloader: dict[str, Any],
        val_float: bool = True,
        lane_images: int = 16,
        report: bool = True,
        simulate_file: bool = True,
        **leftovers: Any,
    ):
        _check_leftovers(leftovers)
        apply_policy(runner.cfg)
        self.quantizer = _required(runner.cfg, 'quantizer', 'a scheme')
        self.limits = None
        if runner.cfg.get('backend'):
            self.limits = SchemeLimits.from_config(runner.cfg.backend)
            self.quantizer = self.limits.constrain(self.quantizer)
        self.stages = build_stages(_required(runner.cfg, 'stages', 'a recipe'))
        self.calibration = CalibrationSettings.from_config(runner.cfg.get('calibration'))
        self.val_float, self.lane_images = val_float, lane_images
        self.evaluations = EvaluationRecord(runner, report)
        self.resume, self.simulate_file = False, simulate_file
        self.simulation: Callable[[PTQContext], AbstractContextManager] = nullcontext
        # The float weights come from a checkpoint; initialising could download others first.
        unwrap(runner.model).init_weights = _do_nothing
        leave_training(runner)
        if not any(isinstance(hook, QuantizationHook) for hook in runner.hooks):
            runner.register_hook(QuantizationHook())
        cfg = dict(runner.cfg, train_dataloader=dataloader)
        super().__init__(runner, calibration_loader(cfg, runner.seed))

    # What mmengine's runner asks of a train loop.
    max_epochs = epoch = max_iters = iter = 0

    def run(self) -> torch.nn.Module:
        """Quantize, save, evaluate; returns the quantized model."""
        with alone_in(self.runner.work_dir):
            self._run()
        return self.runner.model

    def _run(self) -> None:
        runner = self.runner
        _check_loaded(runner)
        leave_mps(runner)
        vars(unwrap(runner.model)).pop('init_weights', None)
        drop_model_copies(runner)
        ctx = self.make_context()
        ctx.resume = self._resume_store(ctx)
        self._check_overlap()
        check_adapter(self.stages, ctx.model)
        self.plan(ctx)
        check_stages(self.stages, ctx)
        if self.dataloader.dataset.dropped:
            ctx.record('dropped_points', dropped_rows(self.dataloader.dataset))
        before = ctx.evaluate() if self.val_float and ctx.evaluator else {}
        ctx.float_metrics = before or None
        start = time.perf_counter()
        with lane_report(ctx, self.lane_images):
            quantize_model(ctx, self.stages)
        seconds = time.perf_counter() - start
        path = ctx.work_dir / CHECKPOINT_NAME
        meta = getattr(self.dataloader.dataset.dataset, 'metainfo', None) or {}
        if parallel.is_main():
            save_quantized(ctx.model, ctx.plan, path, meta, config_text(runner.cfg))
        runner.logger.info(f'quantized checkpoint: {path}')
        after = ctx.quantized_metrics or self._evaluate_quantized(ctx)
        self._report(ctx, before, after, seconds)
        ctx.resume.clear()

    def make_context(self) -> PTQContext:
        """What the stages work on: the model and the calibration data."""
        runner = self.runner
        model = unwrap(runner.model).eval()
        ctx = PTQContext(model, self.dataloader, Path(runner.work_dir), runner.seed)
        ctx.limits = self.limits
        if runner.val_loop is not None:
            ctx.evaluator = partial(self.evaluations.evaluate, partial(evaluate, runner))
        return ctx

    def _resume_store(self, ctx: PTQContext) -> ResumeStore:
        cfg = self.runner.cfg
        # Calibration samples go through the pipeline of the evaluation data.
        keys = ('model', 'data_preprocessor', 'quantizer', 'stages', 'calibration', 'backend')
        keys += ('train_dataloader', 'val_dataloader', 'test_dataloader')
        texts = {f"'{key}' in its config": to_plain(cfg.get(key)) for key in keys}
        texts = {key: json.dumps(value, sort_keys=True) for key, value in texts.items()}
        texts['seed'] = str(ctx.seed)
        texts['version of a package'] = json.dumps(package_versions(), sort_keys=True)
        texts['device'] = device_of(ctx.model).type
        texts['float checkpoint'] = state_dict_sha256(ctx.model)
        return ResumeStore(ctx.work_dir / 'resume', texts, self.resume)

    def _check_overlap(self) -> None:
        if self.runner.val_loop is not None:
            data = self.dataloader.dataset
            evaluation = self.runner.val_dataloader.dataset
            only_warn = self.calibration.overlap == 'warn'
            check_overlap(data.dataset, data.indices, evaluation, only_warn)

    def _evaluate_quantized(self, ctx: PTQContext) -> dict[str, Any]:
        if ctx.evaluator is None:
            return {}
        if self.simulate_file:
            try:
                with self.simulation(ctx):
                    return ctx.evaluate()
            except QuantizationError as error:
                ctx.logger.warning(f'the file is not simulated: {error}')
        return ctx.evaluate()

    def plan(self, ctx: PTQContext) -> None:
        """Decide what is folded and quantized; logs the coverage table."""
        plan_model(ctx, self.quantizer)
        ctx.logger.info(coverage_text(ctx.plan))

    def _report(self, ctx: PTQContext, before: dict, after: dict, seconds: float) -> None:
        result = record_result(ctx, before, after, seconds)
        table = format_table(comparison_rows(before, after)) if after else '(not evaluated)'
        ctx.logger.info(
            f'result\n{table}\n'
            f'weights: {result["float_bytes"] / 2**20:.2f} MB in float32, '
            f'{result["quantized_bytes"] / 2**20:.2f} MB quantized; quantized in {seconds:.1f} s '
            f'with {result["num_samples"]} samples'
        )
        if self.evaluations.enabled:
            report_run(ctx, self.evaluations.between(before, after), self.runner)
        warn_of_drop(ctx, self.stages, before, after)


def _do_nothing() -> None:
    pass


def _check_leftovers(leftovers: dict[str, Any]) -> None:
    """Settings of the float config's own loop are no matter; others are mistakes."""
    for key in leftovers:
        if key not in LOOP_KEYS:
            raise QuantizationError(
                f"train_cfg has an unknown key '{key}': use val_float, lane_images or report"
            )


def _check_loaded(runner: Runner) -> None:
    if not runner._has_loaded:
        raise QuantizationError(
            'no float checkpoint was loaded, so that the weights are random: set load_from in the '
            'config, or give the checkpoint to tools/ptq.py'
        )


def leave_mps(runner: Runner) -> None:
    """Move the model to the CPU where mmengine has put it on 'mps', as it does on a Mac."""
    if any(parameter.device.type == 'mps' for parameter in runner.model.parameters()):
        runner.logger.warning("quantizing on the CPU, because the device 'mps' lacks float64")
        runner.model.to('cpu')


def _required(cfg: Any, key: str, what: str) -> Any:
    if not cfg.get(key):
        raise QuantizationError(
            f"the config has no '{key}': inherit {what} from configs/_base_, or name one with "
            f'--{what.split()[-1]}'
        )
    return cfg[key]
