"""Run everything that matters on a GPU, compare it with the CPU, and time full-size models.

python tools/dev/gpu_check.py                          # under 8 minutes on one GPU
python tools/dev/gpu_check.py --device cpu --quick     # the same steps on tiny sizes

It prints one table and exits with 1 if a step failed. What the machine cannot run is named.
"""

import copy
import io
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from gpu_check_models import Case, center_point, images, plain_net, retinanet, scans, tensors
from mmengine.logging import MMLogger
from torch import Tensor, nn

import mmptq
from mmptq.adapters import build_adapter
from mmptq.deploy import ExportProfile, export_quantized, subgraph_inputs
from mmptq.ptq import PTQContext
from mmptq.ptq.inputs.model_inputs import prepare_batch
from mmptq.ptq.resume import ResumeStore
from mmptq.ptq.run import plan_model, quantize_model
from mmptq.ptq.stages.recipe import build_stages
from mmptq.quantization import FakeQuantizer
from mmptq.report import format_table
from mmptq.utils.cli import tool_parser
from mmptq.utils.config_files import base_config
from mmptq.utils.messages import last_sentence
from mmptq.utils.sparse_rows import align_rows
from mmptq.utils.trees import copy_tensors, flatten

CLOSE = 1e-3  # largest relative difference of float outputs, and of nine scales out of ten
WORSE = 1.3  # a quantized model may be this many times as far from float as that of the CPU
LEARNED = {'Reconstructor', 'Distillation', 'LpSelector'}
# Recipes that the RetinaNet does not run: for LiDAR, for lanes, ablations.
OTHERS = ('lidar*', 'selective_focus*', '*_lidar_ptq', '*_no_*', '*_anomaly*', '*_all', '*_soft')
PLAIN = ('mse', 'adaround', 'qdrop', 'bias_correction', 'cle_mse')


class Skipped(Exception):
    """Why this machine cannot run a step."""


def verdict(right: bool, text: str) -> str:
    """The text, as a result or as a failure."""
    if not right:
        raise RuntimeError(text)
    return text


def stages_of(recipe: str, steps: int, candidates: int) -> list[dict[str, Any]]:
    """A recipe with few steps, and so many ranges that an LpObserver tries."""
    stages = copy.deepcopy(base_config('recipe', recipe).stages)
    for stage in stages:
        for key in ('weight_observer', 'act_observer'):
            if stage.get(key, {}).get('type') == 'LpObserver':
                stage[key].num_candidates = candidates
        if stage.type in LEARNED:
            few = dict(num_samples=2, num_candidates=4, exponents=[2.0, 1.0])
            stage.update(few if stage.type == 'LpSelector' else dict(num_iters=steps, batch_size=2))
    return stages


@torch.no_grad()
def outputs(model: nn.Module, batch: Any) -> Tensor:
    """All float outputs of a model, or of a detector's head, in one row on the CPU."""
    data = prepare_batch(model, copy.deepcopy(batch))
    if hasattr(model, 'data_preprocessor'):
        data = build_adapter(model).raw_outputs(data)
    else:
        data = model(data)
    found = [x.flatten().float().cpu() for x in flatten(data)[0]]
    return torch.cat([x - x.mean() for x in found])  # biases of scores would hide all else


def distance(x: Tensor, reference: Tensor) -> float:
    return float((x - reference).norm() / reference.norm())


def scales(model: nn.Module) -> Tensor:
    return torch.cat([m.scale.cpu() for m in model.modules() if isinstance(m, FakeQuantizer)])


class Steps:
    """The steps, each a method that returns a sentence."""

    def __init__(self, device: str, quick: bool, folder: Path):
        self.device, self.quick, self.folder = device, quick, folder
        self.iters, self.candidates = (2, 8) if quick else (5, 100)
        self.plain = Case(plain_net, tensors)
        size = (64, 96) if quick else (128, 160)
        self.retinanet = Case(lambda: retinanet(False), lambda count: images(count, *size))
        points = 300 if quick else 20000
        self.lidar = Case(lambda: center_point(False), lambda n: scans(n, points), 'w4a4_lidar')

    def all(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Names and steps in order."""
        folder = Path(base_config('recipe', 'mse').filename).parent
        recipes = sorted(path.stem for path in folder.glob('*.py'))
        yield 'plain network, float', lambda: self.same_float(self.plain)
        for name in PLAIN:
            yield f'plain network, {name}', lambda name=name: self.recipe(self.plain, name)
        yield 'resume', self.resume
        yield 'checkpoint on the CPU', lambda: self.checkpoint(self.plain)
        yield 'RetinaNet, float', lambda: self.same_float(self.need_2d())
        for name in recipes:
            if not any(fnmatch(name, other) for other in OTHERS):
                yield f'RetinaNet, {name}', lambda name=name: self.recipe(self.need_2d(), name)
        yield 'RetinaNet, checkpoint', lambda: self.checkpoint(self.need_2d())
        yield 'RetinaNet, export', self.export
        yield 'CenterPoint, rows of two runs', self.rows
        for name in ('mse', 'lidar_ptq'):
            yield f'CenterPoint, {name}', lambda name=name: self.recipe(self.need_3d(), name)
        yield 'full RetinaNet-R50, int8 mse', lambda: self.full(self.need_2d(), 'mse')
        yield 'full RetinaNet-R50, w4a4 qdrop', lambda: self.full(self.need_2d(), 'qdrop')
        yield 'full CenterPoint, int8 mse', lambda: self.full(self.need_3d(), 'mse')

    def stages(self, recipe: str) -> list[dict[str, Any]]:
        return stages_of(recipe, self.iters, self.candidates)

    def need_2d(self) -> Case:
        """Or the reason why detectors of images do not run."""
        try:
            from mmcv.ops import nms

            nms(torch.zeros(1, 4, device=self.device), torch.zeros(1, device=self.device), 0.5)
        except (ImportError, RuntimeError) as error:
            raise Skipped(f'mmcv.ops.nms does not run here: {last_sentence(error)}') from error
        return self.retinanet

    def need_3d(self) -> Case:
        """Or the reason why voxel detectors do not run."""
        self.need_2d()
        try:
            import mmdet3d  # noqa: F401
            import spconv.pytorch as spconv

            x = torch.zeros(1, 4, device=self.device)
            x = spconv.SparseConvTensor(x, torch.zeros_like(x).int(), [4, 4, 4], 1)
            spconv.SubMConv3d(4, 4, 3).to(self.device)(x)
        except Exception as error:  # spconv raises whatever its build raises
            raise Skipped(f'spconv does not run here: {last_sentence(error)}') from error
        return self.lidar

    def same_float(self, case: Case) -> str:
        (batch,) = case.batches(1)
        found = [outputs(case.build().to(device), batch) for device in ('cpu', self.device)]
        difference = distance(found[1], found[0])
        return verdict(difference <= CLOSE, f'outputs differ by {difference:.1g}')

    def recipe(self, case: Case, name: str) -> str:
        """Quantize on CPU and device, and compare."""
        stages = self.stages(name)
        (batch,) = case.batches(1)
        reference = outputs(case.build(), batch)
        other = cpu = case.quantized(stages, 'cpu')
        if self.device != 'cpu':
            other = case.quantized(stages, self.device)
        error, own = (distance(outputs(model, batch), reference) for model in (cpu, other))
        change = ((scales(other) - scales(cpu)).abs() / scales(cpu)).quantile(0.9).item()
        text = f'error {own:.3g} (CPU {error:.3g}), scales differ by {change:.1g}'
        learned = LEARNED.intersection(stage.type for stage in stages)
        return verdict(own <= WORSE * error + 1e-5 and (change <= CLOSE or learned), text)

    def resume(self) -> str:
        """A run that finds all its units learned gives the same model."""
        states = []
        for resume in (False, True):
            model = self.plain.build().to(self.device)
            ctx = PTQContext(model, self.plain.batches(4), self.folder / 'resume', 0)
            ctx.resume = ResumeStore(self.folder / 'state', {}, resume)
            plan_model(ctx, base_config('scheme', 'w4a4').quantizer)
            quantize_model(ctx, build_stages(self.stages('adaround')))
            states.append(outputs(model, self.plain.batches(1)[0]))
        difference = distance(states[1], states[0])
        return verdict(difference <= CLOSE, f'outputs differ by {difference:.1g}')

    def checkpoint(self, case: Case) -> str:
        """Saved on the device, loaded on the CPU."""
        (batch,) = case.batches(1)
        model = case.quantized(self.stages('mse'), self.device, self.folder / 'saved')
        loaded = mmptq.load(case.build(), self.folder / 'saved' / 'quantized.pth')
        state = loaded.state_dict()
        equal = all(torch.equal(x.cpu(), state[name]) for name, x in model.state_dict().items())
        difference = distance(outputs(loaded, batch), outputs(model, batch))
        return verdict(equal and difference <= CLOSE, f'outputs differ by {difference:.1g}')

    def export(self) -> str:
        """An ONNX file from a model on the device, checked in ONNX Runtime."""
        case = Case(self.need_2d().build, self.retinanet.batches, 'int8')
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise Skipped('onnxruntime is not installed') from error
        model = case.quantized(self.stages('mse'), self.device)
        with subgraph_inputs(model) as inputs, torch.no_grad():
            for batch in case.batches(2):
                model(**prepare_batch(model, batch), mode='predict')
        profile = ExportProfile.from_config(base_config('backend', 'onnxruntime').backend)
        rows = export_quantized(model, profile, inputs, self.folder / 'model.onnx', {})
        least = min(row['engine against model (dB)'] for row in rows)
        stays = next(model.parameters()).device.type == torch.device(self.device).type
        return verdict(stays, f'{least:.0f} dB against the model, which stays on its device')

    @torch.no_grad()
    def rows(self) -> str:
        """Sparse features of two float runs belong together by their coordinates."""
        case, found = self.need_3d(), []
        model = case.build().to(self.device)
        layers = [m for m in model.modules() if type(m).__name__ == 'SparseConv3d']
        for layer in layers:
            layer.register_forward_hook(lambda _, args, y: found.append(copy_tensors(y)))
        for _ in range(2):
            model(**prepare_batch(model, case.batches(1)[0]), mode='predict')
        first, second = found[: len(layers)], found[len(layers) :]
        (aligned,) = align_rows(second, first)
        features = [[x.features for x in run] for run in (first, second, aligned)]
        moved = sum(not torch.equal(x, y) for x, y in zip(*features[:2], strict=True))
        pairs = zip(features[0], features[2], strict=True)
        same = all(torch.allclose(x, y, rtol=CLOSE, atol=CLOSE) for x, y in pairs)
        return verdict(same, f'{moved} of {len(layers)} layers had another order or other bits')

    def full(self, case: Case, name: str) -> str:
        """Time of a run on a full-size model with random weights."""
        is_2d = case is self.retinanet
        count = 4 if self.quick else 32
        batches = images(count, *((96, 128) if self.quick else (800, 1344)))
        batches = batches if is_2d else scans(count, 2000 if self.quick else 200000)
        model = (retinanet if is_2d else center_point)(not self.quick).to(self.device)
        scheme = 'w4a4' if name == 'qdrop' else 'int8' if is_2d else 'int8_lidar'
        start = time.perf_counter()
        mmptq.quantize(model, batches, scheme, self.stages(name))
        return f'{count} samples, {(time.perf_counter() - start) / count:.2f} s per sample'


def run_step(step: Callable[[], str], device: str) -> tuple[str, float, float]:
    """What came out, seconds, GiB of memory at the peak."""
    cuda, start = device != 'cpu', time.perf_counter()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            MMLogger.get_current_instance().setLevel('ERROR')
            text = f'ok: {step()}'
    except Skipped as error:
        text = f'not run: {error}'
    except Exception as error:  # whatever a step raises is its result
        text = f'failed: {type(error).__name__}: {last_sentence(error)}'
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = torch.cuda.max_memory_allocated() if cuda else used
    return text, time.perf_counter() - start, used / 2**30


def check(device: str, quick: bool, minutes: float) -> list[dict[str, Any]]:
    """Run all steps; rows of the table."""
    rows, end = [], time.perf_counter() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        for name, step in Steps(device, quick, Path(folder)).all():
            text, seconds, memory = 'not run: the time is over (--minutes)', 0.0, 0.0
            if time.perf_counter() < end:
                text, seconds, memory = run_step(step, device)
            print(f'{name}: {text}', flush=True)
            rows.append(dict(step=name, result=text, seconds=round(seconds, 1)))
            rows[-1]['peak GiB'] = round(memory, 2)
    return rows


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('--device', default='cuda', help='default: %(default)s')
    parser.add_argument('--quick', action='store_true', help='tiny sizes and two learning steps')
    parser.add_argument('--minutes', type=float, default=7.5, help='default: %(default)s')
    args = parser.parse_args()
    name = 'the CPU'
    if args.device != 'cpu':
        if not torch.cuda.is_available():
            sys.exit('error: torch finds no GPU here: use --device cpu --quick to try the script')
        name = torch.cuda.get_device_name(args.device)
    rows = check(args.device, args.quick, args.minutes)
    print(f'\n{name}, torch {torch.__version__}, mmptq {mmptq.__version__}\n{format_table(rows)}')
    failed = [row['step'] for row in rows if row['result'].startswith('failed')]
    if failed:
        sys.exit(f'error: {len(failed)} steps failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
