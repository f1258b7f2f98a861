"""What support_matrix.py does with one config; each step leaves a sentence and its time."""

import copy
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import BaseDataElement
from support_configs import Case, detector_config, limit_detections, narrow, shrink_range, signature
from support_samples import make_batch
from torch import Tensor, nn

from mmptq.adapters import build_adapter
from mmptq.api import load
from mmptq.deploy import ExportProfile, FileForm, export_quantized, subgraph_inputs
from mmptq.deploy.export import check_exportable
from mmptq.engine.build import build_model, enter_scope
from mmptq.engine.checkpoint import save_quantized
from mmptq.ptq import PTQContext, Reconstructor
from mmptq.ptq.run import convert_model, finish_model, plan_model, run_stages
from mmptq.ptq.stages.recipe import build_stages
from mmptq.quantization import QuantizationError, coverage_rows, quantizers_off
from mmptq.utils.config_files import base_config
from mmptq.utils.messages import first_line

STEPS = ('build', 'run', 'plan', 'check', 'adapter', 'calibrate', 'learn', 'test', 'export')
OPTIONAL_STEPS = ('adapter', 'learn', 'export')  # the others go on without them
BACKEND, SCHEME, RECIPE = 'onnxruntime', 'int8', 'minmax'
# (channels, point cloud range): the first that fits together is taken.
DIVISORS = ((4, 4), (1, 4), (4, 2), (1, 2), (1, 1))
LEARNING_STEPS = 3
STANDARDISED = ('ConvWS2d', 'ConvAWS2d', 'SAConv2d')
MIN_DECIBEL = 3.0  # of exported files; outputs of random weights are little more than a constant
# What mmdet and mmdet3d say where an operator has no CPU version, or a package is missing.
NEEDS = (
    'not implemented on CPU',
    'cuda',
    'not compiled with GPU support',
    'no kernel image',
    'CPU tensors are not supported',
    'implementation for device cpu not found',
    'must be a CUDA tensor',
    'found no nvidia driver',
    'is not installed',
    'please install',
)


class CaseEnd(Exception):
    """A step did not succeed, and those after it need it."""


class Record:
    """The row of one config: what each step said, and facts.

    Args:
        case (Case): The config.
        write (Callable): Takes the row as plain data, whenever it changes.
    """

    def __init__(self, case: Case, write: Callable[[dict[str, Any]], None]):
        self.row = dict(key=case.key, package=case.package, folder=case.folder, steps={}, facts={})
        self._write = write

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """One step; the context yields what to put ``text`` into.

        Args:
            name (str): One of ``STEPS``; the others go on without the optional ones.
        """
        start = time.process_time()
        entry = self.row['steps'][name] = dict(state='running', text='')
        self._write(self.row)
        try:
            yield entry
            entry['state'] = 'ok'
        except Exception as error:  # any model may fail in any way; it becomes a row
            entry.update(describe(error, name))
            self.row['facts'][f'traceback of {name}'] = traceback.format_exc()[-3000:]
            if name not in OPTIONAL_STEPS:
                raise CaseEnd from error
        finally:
            entry['seconds'] = round(time.process_time() - start, 1)
            self._write(self.row)

    def fact(self, name: str, value: Any) -> None:
        """Keep a fact of the row."""
        self.row['facts'][name] = value


def describe(error: Exception, step: str) -> dict[str, str]:
    """State and sentence of a failed step."""
    if isinstance(error, QuantizationError):
        return dict(state='refused', text=str(error))
    cause: BaseException = error
    while isinstance(cause, (ImportError, KeyError)) and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ImportError):
        return dict(state='needs', text=f'needs what is not installed ({first_line(cause)})')
    text = first_line(error)
    if step in ('build', 'run'):
        needs = any(word.lower() in str(error).lower() for word in NEEDS)
        return dict(state='needs' if needs else 'fails', text=' '.join(text.split()))
    return dict(state='error', text=text)


def run_case(case: Case, write: Callable[[dict[str, Any]], None], folder: Path) -> None:
    """All steps of a config.

    Args:
        case (Case): The config.
        write (Callable): Takes the row as plain data, whenever it changes.
        folder (Path): For temporary files.
    """
    record = Record(case, write)
    with suppress(CaseEnd):
        _run(case, record, folder)


def _run(case: Case, record: Record, folder: Path) -> None:
    with record.step('build') as entry:
        cfg = case.read()
        original = detector_config(cfg)
        record.fact('signature', signature(original))
        limit_detections(original)
        model = make_model(cfg, original)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        entry['text'] = f'{millions:.1f} M parameters'
        del model
    with record.step('run'):
        config, batches, divisors = find_size(cfg, original)
        record.fact('divisors', divisors)
    model = make_model(cfg, config)
    ctx = PTQContext(model, batches, folder, seed=0)
    backend = base_config('backend', BACKEND).backend
    profile = ExportProfile.from_config(backend)
    quantizer = profile.limits.constrain(base_config('scheme', SCHEME).quantizer)
    with record.step('plan') as entry:
        plan_model(ctx, quantizer)
    with record.step('check') as entry:
        convert_model(ctx)
        entry['text'] = _coverage(ctx, record)
    with record.step('adapter') as entry:
        entry['text'] = _head_loss(ctx)
    stages = build_stages(base_config('recipe', RECIPE).stages)
    with record.step('calibrate'):
        run_stages(ctx, stages)
    with record.step('learn') as entry:
        stage = OneUnit('block', num_iters=LEARNING_STEPS, batch_size=2)
        run_stages(ctx, [stage])
        entry['text'] = stage.found
    with record.step('test') as entry:
        finish_model(ctx)
        entry['text'] = _test(ctx, make_model(cfg, config, seed=1), folder)
    with record.step('export') as entry:
        check_exportable(model, ctx.plan.layers, profile)
        with torch.no_grad(), subgraph_inputs(model) as inputs:
            for data in ctx.batches('export'):
                ctx.predict(data)
        path = folder / 'model.onnx'
        form = FileForm(dynamic=False, batch=1, float_outputs=0)  # without searches
        rows = export_quantized(model, profile, inputs, path, {}, form, MIN_DECIBEL)
        entry['text'] = f'{len(rows)} outputs'


def make_model(cfg: Config, config: ConfigDict, seed: int = 0) -> nn.Module:
    """The detector with random weights, and BatchNorms that do something."""
    enter_scope(cfg)
    torch.manual_seed(seed)
    model = build_model(Config(dict(model=copy.deepcopy(config), default_scope=cfg.default_scope)))
    generator = torch.Generator().manual_seed(seed)
    if any(hasattr(module, 'init_proposal_bboxes') for module in model.modules()):
        model.init_weights()  # proposals that are boxes, and stay within the image
        for name, parameter in model.named_parameters():
            if name.endswith('fc_reg.weight'):
                parameter.data.mul_(0.01)
    # Standardised weights make outputs as large as the root of the number of inputs.
    standardised = any(type(module).__name__ in STANDARDISED for module in model.modules())
    largest = 384.0 if standardised else 1.5
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(largest / 3, largest, generator=generator)
    return model


def find_size(cfg: Config, original: ConfigDict) -> tuple[ConfigDict, list[Any], tuple[int, int]]:
    """The smallest version of a model that runs, and two batches for it."""
    in_3d = 'voxel_layer' in original.get('data_preprocessor', {})
    for channels, area in DIVISORS:
        if not in_3d and area not in (4,) and (channels, area) != (1, 1):
            continue
        config = narrow(original, channels) if channels > 1 else original
        config = shrink_range(config, area) if in_3d and area > 1 else config
        batches = [make_batch(cfg, config, seed) for seed in (0, 1)]
        try:
            model = make_model(cfg, config)
            for batch in batches:
                data = model.data_preprocessor(copy.deepcopy(batch), False)
                with torch.no_grad():
                    model(**data, mode='predict')
            return config, batches, (channels, area)
        except Exception as error:  # a narrowed model fails in any way where its parts do not fit
            missing = isinstance(error, RuntimeError) and describe(error, 'run')['state'] == 'needs'
            if missing or (channels, area) == DIVISORS[-1]:
                raise
    raise AssertionError('the last divisors are always tried')


class OneUnit(Reconstructor):
    """A reconstructor of the middle one of all units.

    Attributes:
        found (str): What was learned.
    """

    found = ''

    def _find(self, ctx, forward):
        units = super()._find(ctx, forward)
        if not units:
            raise QuantizationError('no unit is left to reconstruct')
        unit = units[len(units) // 2]
        self.found = f'{unit.name}, 1 of {len(units)}'
        return [unit]


def _coverage(ctx: PTQContext, record: Record) -> str:
    layers = ctx.plan.layers
    record.fact('quantized', sum(layer.quantized for layer in layers))
    reasons = Counter(
        (row['kind'], row['note'].split('; ')[-1])
        for row in coverage_rows(ctx.plan)
        if row['weight'] == 'float' and row['kind'] != 'BatchNorm'
    )
    record.fact('float', sum(reasons.values()))
    record.fact('reasons', [[kind, note, count] for (kind, note), count in reasons.items()])
    return f'{record.row["facts"]["quantized"]} layers quantized, {sum(reasons.values())} float'


def _head_loss(ctx: PTQContext) -> str:
    """The adapter's own functions on the quantized network's outputs."""
    adapter = build_adapter(ctx.model)
    data = ctx.first_batch()
    with torch.no_grad(), quantizers_off(ctx.model):
        raw = adapter.raw_outputs(data)
        labels = adapter.pseudo_labels(raw, data, 0.0, 5)
    adapter.outputs(raw)
    losses = adapter.loss(raw, data, labels)
    if not losses:
        raise RuntimeError(f'{type(adapter).__name__} gives no loss')
    return type(adapter).__name__  # random weights may be too large for the exponentials of a loss


def _test(ctx: PTQContext, fresh: nn.Module, folder: Path) -> str:
    """Predictions of the quantized model, also when it was saved and loaded again."""
    path = folder / 'quantized.pth'
    save_quantized(ctx.model, ctx.plan, path, {}, '')
    load(fresh, path)
    other = PTQContext(fresh, ctx.loader, folder, seed=0)
    count = 0
    for data, again in zip(ctx.batches('test'), other.batches('test'), strict=True):
        one, two = numbers(ctx.predict(data)), numbers(other.predict(again))
        if len(one) != len(two) or not all(map(_same, one, two)):
            raise RuntimeError('the loaded model predicts something else')
        count += sum(x.size for x in one)
    return f'{count} numbers predicted'


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == 'f')


def numbers(tree: Any) -> list[np.ndarray]:
    """All predicted tensors and arrays in data samples, dicts and lists."""
    if isinstance(tree, BaseDataElement):
        return [x for _, value in sorted(tree.items()) for x in numbers(value)]
    if isinstance(tree, dict):
        return [x for value in tree.values() for x in numbers(value)]
    if isinstance(tree, (list, tuple)):
        return [x for value in tree for x in numbers(value)]
    tree = getattr(tree, 'tensor', tree)
    if isinstance(tree, Tensor):
        return [tree.detach().cpu().numpy()]
    return [tree] if isinstance(tree, np.ndarray) else []
