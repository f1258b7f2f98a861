"""Cost of recording: forwards per sample, peak memory, time of range search.

    python tools/benchmarks/benchmark_memory.py [--quick] [--only forwards memory time] [--out FILE]

On mmdet's stock RetinaNet-R50 with random weights, on random images, because neither changes the
cost. No data and no checkpoint are needed.

- forwards: how many forwards of the whole network a sample costs, as convolutions and products that
  are computed: with whole forwards, and from what earlier units gave. While all units of ``qdrop``
  by layer are recorded; and for the gradients of ``brecq`` at all its blocks, backward included.
- memory: peak memory of a process that runs ``brecq``, above what it takes before its stages, and
  the budget. On a GPU that of the GPU, too.
- time: ``int8`` with the recipe ``mse`` against float forwards of the same images, by the clock
  and by processor time of the process, whose ratio holds while other processes use the machine;
  the share of it that what mmptq checks in every run takes.

The default is 64 images of 800x1344 (``--steps`` steps per unit for memory, since memory does not
depend on their number). ``--quick`` takes 4 images of 128x160.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import mmptq
from mmptq.adapters import build_adapter
from mmptq.ptq import ActivationCache, Calibrator, PTQContext
from mmptq.ptq.recording.unit_gradients import UnitGradients
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.run import prepare_model
from mmptq.ptq.teacher.fixed_parameters import fixed_parameters
from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.units.find import find_units
from mmptq.ptq.units.unit_objective import UnitObjective
from mmptq.report import format_table, read_record
from mmptq.utils.cli import tool_parser
from mmptq.utils.config_files import base_config
from mmptq.utils.files import write_json

MODEL = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
MEASURES = ('forwards', 'memory', 'time')
# What a process may take above the budget: the model, and one step of learning a unit.
ALLOWED = 1.5 * 2**30
Settings = dict[str, Any]


def build_model(device: str) -> nn.Module:
    """RetinaNet-R50 with random weights and scores that are high enough for detections."""
    init_default_scope('mmdet')
    cfg = get_config(MODEL).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.05)
    return model.to(device).eval()


def random_images(settings: Settings) -> list[dict[str, Any]]:
    """Batches of one random image each."""
    generator = torch.Generator('cpu').manual_seed(0)
    height, width = settings['size']
    batches = []
    for index in range(settings['num_samples']):
        size = 3, height, width
        image = torch.randint(256, size, dtype=torch.uint8, generator=generator, device='cpu')
        meta = dict(img_id=index, img_shape=size[1:], ori_shape=size[1:], scale_factor=(1.0, 1.0))
        batches.append(dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)]))
    return batches


def calibrated(settings: Settings, folder: Path) -> PTQContext:
    """A W4A4 context."""
    model = build_model(settings['device'])
    ctx = PTQContext(model, random_images(settings), folder, seed=0)
    prepare_model(ctx, base_config('scheme', 'w4a4')['quantizer'])
    Calibrator().run(ctx)
    return ctx


def computed(function: Callable[[], Any], grad: bool = False) -> int:
    """Operations of convolutions and products while a function runs."""
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(grad):
        function()
    return counter.get_total_flops()


def measure_forwards(settings: Settings, folder: Path) -> dict[str, Any]:
    """Forwards per sample of recording all units of ``qdrop`` by layer."""
    ctx = calibrated(settings, folder)
    forward = build_adapter(ctx.model).raw_outputs
    with ActivationCache(settings['budget'] // 4, folder) as samples:
        for data in ctx.batches('load'):
            samples.append(data, exact=True)
        units = find_units(ctx.model, lambda: forward(samples[0]), 'layer')
        one = computed(lambda: forward(samples[0]))
        whole = UnitRecorder(ctx.model, samples, forward, True)
        before = sum(computed(lambda unit=unit: whole.record(unit, 0)) for unit in units)
        after = 0
        args = ctx.model, samples, forward, True, True, units, settings['budget'] // 4
        with UnitRecorder(*args) as recorder:
            for unit in units:
                after += computed(lambda unit=unit: deque(recorder.record_unit(unit), maxlen=0))
                recorder.finish(unit)
    after /= one * settings['num_samples']
    found = measure_gradients(settings, folder / 'gradients')
    return dict(units=len(units), before=before / one, after=after, **found)


def measure_gradients(settings: Settings, folder: Path) -> dict[str, Any]:
    """Forwards per sample that the importance of ``brecq`` takes, for all units together."""
    ctx = calibrated(settings, folder)
    adapter, share = build_adapter(ctx.model), settings['budget'] // 4
    forward = adapter.raw_outputs
    loss = MODELS.build(dict(type='mmengine.DetectionOutputLoss', score_thr=0.0))
    with ActivationCache(share, folder) as samples, fixed_parameters(ctx.model):
        for data in ctx.batches('load'):
            samples.append(data, exact=True)
        units = find_units(ctx.model, lambda: forward(samples[0]), 'block')
        layers = [layer for unit in units for layer in unit.layers.values()]
        task = TaskObjective(TeacherOutputs(ctx.model, adapter, loss, samples, share), layers)
        one = computed(lambda: forward(samples[0]))
        before = after = 0
        with UnitRecorder(ctx.model, samples, forward, False, True, units, share) as recorder:
            for unit in units:
                gradients = UnitGradients(unit, task, recorder)
                for index, entry in enumerate(recorder.record_unit(unit)):
                    with torch.no_grad():
                        outputs = UnitObjective(unit, unit.module).outputs(entry, 0.0)
                    args = unit, index, outputs
                    before += computed(lambda args=args: task.gradients(*args), True)
                    found = computed(lambda g=gradients, args=args: g.of(*args[1:]), True)
                    after += found if index else 0  # the first sample compares both ways
                recorder.finish(unit)
                task.finish(unit)
        before, after = before / len(samples), after / max(1, len(samples) - 1)
    return dict(gradient_units=len(units), whole=before / one, from_unit=after / one)


def measure_memory(settings: Settings, folder: Path) -> dict[str, Any]:
    """Peak memory in bytes of ``brecq``, above what the process takes before the stages."""
    ctx = calibrated(settings, folder)
    with torch.no_grad():
        ctx.predict(ctx.first_batch())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    stages = base_config('recipe', 'brecq')['stages'][1:]
    changes = dict(cache_budget=settings['budget'], num_iters=settings['steps'])
    on_gpu = settings['device'] != 'cpu'
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
    for stage in mmptq.ptq.stages.recipe.build_stages(
        [dict(type='Calibrator'), *(dict(stage, **changes) for stage in stages)]
    )[1:]:
        stage.run(ctx)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = dict(process=before, peak=peak, above=peak - before, budget=settings['budget'])
    if on_gpu:
        result['above_gpu'] = torch.cuda.max_memory_allocated() - start
    return result


def measure_time(settings: Settings, folder: Path) -> dict[str, Any]:
    """Time of ``int8`` with ``mse``, and of float forwards of the same images."""
    model, batches = build_model(settings['device']), random_images(settings)
    ctx = PTQContext(model, batches, folder / 'float', seed=0)
    ctx.predict(ctx.first_batch())

    def forwards() -> None:
        for data in ctx.batches('float'):
            ctx.predict(data)

    clock, cpu = timed(forwards, settings)
    wall, processor = timed(lambda: mmptq.quantize(model, batches, 'int8', 'mse', folder), settings)
    return dict(
        float_seconds=clock,
        seconds=wall,
        ratio=wall / clock,
        float_processor_seconds=cpu,
        processor_seconds=processor,
        processor_ratio=processor / cpu,
        checks={row['check']: row['seconds'] / wall for row in read_record(folder, 'checks')},
    )


def timed(function: Callable[[], Any], settings: Settings) -> tuple[float, float]:
    """Seconds of a function by the clock, and of all threads of the process on processors."""
    start = time.perf_counter(), time.process_time()
    function()
    synchronize(settings)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def synchronize(settings: Settings) -> None:
    """Wait for the GPU, if there is one."""
    if settings['device'] != 'cpu':
        torch.cuda.synchronize()


def in_own_process(what: str, settings: Settings) -> dict[str, Any]:
    """Result of a measurement in a fresh process, whose peak memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        command = [sys.executable, __file__, '--measure', what, '--settings', json.dumps(settings)]
        subprocess.run([*command, '--out', str(out)], check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def run_measure(what: str, settings: Settings, out: str) -> None:
    """One measurement in this process."""
    measure = dict(forwards=measure_forwards, memory=measure_memory, time=measure_time)[what]
    with tempfile.TemporaryDirectory() as folder:
        write_json(measure(settings, Path(folder)), out)


def table(results: dict[str, dict[str, Any]]) -> str:
    """What was measured, as rows."""
    rows = []
    if 'forwards' in results:
        found = results['forwards']
        name = f'forwards per sample, qdrop by layer ({found["units"]} units)'
        values = f'{found["before"]:.1f} with whole forwards, {found["after"]:.1f} now'
        rows.append(dict(measure=name, result=values))
        name = f'the same, gradients of brecq ({found["gradient_units"]} units)'
        values = f'{found["whole"]:.1f} with whole forwards, {found["from_unit"]:.1f} now'
        rows.append(dict(measure=name, result=values))
    if 'memory' in results:
        found = results['memory']
        sizes = {key: f'{value / 2**30:.2f} GiB' for key, value in found.items()}
        within = 'yes' if found['above'] <= found['budget'] + ALLOWED else 'NO'
        gpu = f', {sizes["above_gpu"]} on the GPU' if 'above_gpu' in found else ''
        values = f'{sizes["above"]} above {sizes["process"]}{gpu}, budget {sizes["budget"]}'
        rows.append(dict(measure=f'peak of brecq within budget + 1.5 GiB: {within}', result=values))
    if 'time' in results:
        found = results['time']
        values = f'{found["ratio"]:.2f} times {found["float_seconds"]:.1f} s of float forwards'
        used = found['float_processor_seconds']
        values += f', {found["processor_ratio"]:.2f} times their {used:.1f} s of processor time'
        rows.append(dict(measure='int8 + mse', result=values))
        parts = ', '.join(f'{name} {share:.1%}' for name, share in found['checks'].items())
        total = sum(found['checks'].values())
        rows.append(dict(measure='its checks', result=f'{total:.1%} of it: {parts}'))
    return format_table(rows)


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('--quick', action='store_true', help='4 images of 128x160')
    parser.add_argument('--only', nargs='+', choices=MEASURES, default=MEASURES)
    parser.add_argument('--num-samples', type=int, help='default: 64, or 4 with --quick')
    parser.add_argument('--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--budget', type=float, default=4.0, help='GiB for brecq; default: 4')
    parser.add_argument('--steps', type=int, default=2, help='per unit of brecq; default: 2')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', help='JSON file for all numbers')
    parser.add_argument('--measure', choices=MEASURES, help='one measurement, in this process')
    parser.add_argument('--settings', help='JSON of its settings')
    args = parser.parse_args()
    if args.measure:
        run_measure(args.measure, json.loads(args.settings), args.out)
        return
    settings = dict(
        num_samples=args.num_samples or (4 if args.quick else 64),
        size=args.size or ([128, 160] if args.quick else [800, 1344]),
        budget=int(args.budget * 2**30),
        steps=args.steps,
        device=args.device,
    )
    results: dict[str, Any] = dict(settings=settings)
    for what in args.only:
        print(f'{what} ...', flush=True)
        results[what] = in_own_process(what, settings)
        if args.out:
            write_json(results, args.out)
    height, width = settings['size']
    print(
        f'\nRetinaNet-R50, random weights, {settings["num_samples"]} random images of '
        f'{height}x{width}, {args.device}, {torch.get_num_threads()} threads, '
        f'torch {torch.__version__}\n'
    )
    print(table(results))


if __name__ == '__main__':
    main()
