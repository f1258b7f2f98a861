"""Time float and integer files per engine in one interleaved run, batch 1.

python tools/benchmarks/benchmark.py --files float.onnx:onnxruntime onnxruntime.onnx:onnxruntime \
    [--size HEIGHT WIDTH] [--threads 2] [--rounds 20]
python tools/benchmarks/benchmark.py --config CONFIG --size 800 1344   random weights:
    makes the float file and one per backend in the work directory and times them
python tools/benchmarks/benchmark.py --config CONFIG --size 800 1344 --peers   and those of NNCF and
    onnxruntime.quantization from the same float file and the same inputs (`pip install nncf`)

The other files of an engine are compared with its first one, by time and by the signal-to-noise
ratio of the worst output.
"""

import argparse
import platform
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from peers import PEERS, peer_file
from rich.progress import track
from torch import Tensor, nn

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.deploy import ExportedSubgraph, FileForm, build_model, export_float, open_engine
from mmptq.deploy.engines import Engine
from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.parity import SignalToNoise
from mmptq.engine.build import build_model as build_detector
from mmptq.observers import MinMaxObserver
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    apply_plan,
    freeze,
    make_plan,
    product_quantizers,
    quantized_layers,
    quantizers_off,
)
from mmptq.report import format_table
from mmptq.utils.cli import base_config, read_config, tool_parser
from mmptq.utils.files import write_json
from mmptq.utils.hooks import temporary_hooks

BACKENDS = ('onnxruntime', 'openvino', 'onnxruntime_full', 'openvino_full')
PAUSE = 0.1  # seconds


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--files', nargs='+', metavar='FILE:ENGINE')
    source.add_argument('--config', help='config of a model; its weights are drawn at random')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument(
        '--fixed-size',
        action='store_true',
        help='with --config: for networks that work at one size only; takes longer to prepare',
    )
    parser.add_argument(
        '--backends', nargs='+', default=BACKENDS[:2], choices=BACKENDS, help='with --config'
    )
    parser.add_argument('--peers', action='store_true', help="with --config: other tools' files")
    parser.add_argument(
        '--num-samples', type=int, default=1, help='with --config: random inputs for calibration'
    )
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=20, help='timed runs of each file')
    parser.add_argument('--work-dir', default='work_dirs/benchmark')
    parser.add_argument('--out', help='JSON file for the table')
    return parser.parse_args()


def random_subgraph(path: str) -> ExportedSubgraph:
    """Network of a config with random weights; BatchNorms get statistics that keep values sane."""
    cfg = read_config(path)
    torch.manual_seed(0)
    subgraph = ExportedSubgraph(build_detector(cfg))
    for module in subgraph.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return subgraph.eval()


def input_channels(subgraph: ExportedSubgraph) -> int:
    """Channels that the first convolution takes, before four pixels became one."""
    from mmdet.models.backbones.csp_darknet import Focus

    first = next(m for m in subgraph.modules() if isinstance(m, (nn.Conv2d, Focus)))
    return first.conv.conv.in_channels // 4 if isinstance(first, Focus) else first.in_channels


def quantize_by_minmax(
    subgraph: ExportedSubgraph, profile: ExportProfile, *samples: Tensor
) -> None:
    """Quantize a network, in place, by the ranges on some inputs."""
    quantizer = profile.limits.constrain(base_config('scheme', 'int8').quantizer.to_dict())
    apply_plan(subgraph, make_plan(subgraph, quantizer, lambda: subgraph(samples[0])))
    observers = {}

    def observe(slot: FakeQuantizer, args: tuple) -> None:
        observers.setdefault(slot, MinMaxObserver(slot.scheme)).update(args[0])

    layers = quantized_layers(subgraph).values()
    slots = [slot for layer in layers for slot in (layer.weight_quantizer, layer.input_quantizer)]
    slots += product_quantizers(subgraph).values()
    hooks = {slot: observe for slot in slots if isinstance(slot, FakeQuantizer)}
    with temporary_hooks(hooks), quantizers_off(subgraph):
        for sample in samples:
            subgraph(sample)
    for slot, observer in observers.items():
        slot.set_qparams(*observer.qparams())
    freeze(subgraph)


def make_files(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Float and integer files of a config, with their engines."""
    if args.size is None:
        raise QuantizationError('--config needs --size HEIGHT WIDTH')
    folder = Path(args.work_dir)
    float_file = folder / 'float.onnx'
    subgraph = random_subgraph(args.config)
    dynamic = not args.fixed_size
    small = dynamic and not args.peers  # with peers, outputs are compared too
    size = [max(64, end // 128 * 32) for end in args.size] if small else args.size
    shape = (1, input_channels(subgraph), *size)
    samples = [torch.rand(shape) for _ in range(args.num_samples)]
    export_float(subgraph, samples, float_file, FileForm(dynamic=dynamic))
    files = {}
    for name in args.backends:
        profile = ExportProfile.from_config(base_config('backend', name).backend)
        subgraph = random_subgraph(args.config)
        quantize_by_minmax(subgraph, profile, *samples)
        model, _ = build_model(subgraph, profile, samples, dynamic)
        file = folder / f'{name}.onnx'
        file.write_bytes(model.SerializeToString())
        files[file] = profile.engine
    for name, (engine, quantize) in PEERS.items() if args.peers else ():
        print(name, flush=True)
        file = peer_file(folder, name)
        try:
            quantize(float_file, [x.numpy() for x in samples], file)
        except Exception as error:  # other tools raise anything; their row is missing then
            print(f'{name} fails: {type(error).__name__}: {error}', flush=True)
            continue
        files[file] = engine
    floats = [(str(float_file), engine) for engine in dict.fromkeys(files.values())]
    return floats + [(str(file), engine) for file, engine in files.items()]


def named_files(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The files of the command line, with their engines."""
    pairs = []
    for entry in args.files:
        path, separator, engine = entry.rpartition(':')
        if not separator:
            raise QuantizationError(f"'{entry}' names no engine: write FILE:ENGINE")
        pairs.append((path, engine))
    return pairs


def measure(engines: dict[tuple[str, str], Engine], x: np.ndarray, rounds: int) -> dict:
    """Seconds of every run, one run of each file in each round.

    The pauses let the threads of the previous engine stop spinning. The order changes from round
    to round, because each file leaves caches and memory behind.
    """
    order, generator = list(engines.items()), random.Random(0)
    for engine in engines.values():
        engine.run(x)
    seconds = {key: [] for key in engines}
    for _ in track(range(rounds), 'measure'):
        generator.shuffle(order)
        for key, engine in order:
            time.sleep(PAUSE)
            start = time.perf_counter()
            engine.run(x)
            seconds[key].append(time.perf_counter() - start)
    return seconds


def worst_decibel(engines: dict[tuple[str, str], Engine], x: np.ndarray) -> list[float]:
    """Signal-to-noise in dB of each file's worst output, against the first file of its engine."""
    first: dict[str, dict[str, np.ndarray]] = {}
    worst = []
    for (_, name), engine in engines.items():
        outputs = dict(zip(engine.output_names, engine.run(x), strict=True))
        reference = first.setdefault(name, outputs)
        meters = {key: SignalToNoise() for key in reference}
        for key, meter in meters.items():
            meter.update(reference[key], outputs[key])
        worst.append(min(meter.decibel for meter in meters.values()))
    return worst


def table(engines: dict, seconds: dict) -> list[dict]:
    """Latency, throughput and ratio of every file."""
    first: dict[str, np.ndarray] = {}
    rows = []
    for (path, name), engine in engines.items():
        times = np.array(seconds[path, name])
        reference = first.setdefault(name, times)
        integer, floating = engine.count_layers()
        rows.append(
            {
                'engine': name,
                'file': Path(path).name,
                'integer layers': integer,
                'float layers': floating,
                'median ms': round(float(np.median(times)) * 1e3, 1),
                'p95 ms': round(float(np.percentile(times, 95)) * 1e3, 1),
                'per second': round(1 / float(np.median(times)), 1),
                # Of the same round, so that other load on the machine affects both.
                'ratio': round(float(np.median(reference / times)), 2),
            }
        )
    return rows


def processor() -> str:
    """Name of the processor, and whether it has fast 8-bit products."""
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    names = [line.split(':')[1].strip() for line in text.splitlines() if 'model name' in line]
    fast = 'with' if 'vnni' in text else 'without'
    return f'{names[0] if names else platform.processor()} {fast} VNNI'


def run(args: argparse.Namespace) -> None:
    pairs = named_files(args) if args.files else make_files(args)
    size = tuple(args.size) if args.size else None
    engines = {pair: open_engine(pair[1], pair[0], args.threads, size) for pair in pairs}
    shapes = {engine.input_shape for engine in engines.values()}
    if len(shapes) > 1 or any(isinstance(end, str) for shape in shapes for end in shape):
        raise QuantizationError(
            f'the files take inputs of {sorted(map(str, shapes))}: name one --size for all'
        )
    (shape,) = shapes
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    rows = table(engines, measure(engines, x, args.rounds))
    for row, decibel in zip(rows, worst_decibel(engines, x), strict=True):
        row['worst output, dB'] = round(decibel, 1)
    print(f'{shape}, {args.threads} threads, {args.rounds} rounds, {processor()}')
    print(format_table([{key: str(value) for key, value in row.items()} for row in rows]))
    if args.out:
        write_json(rows, args.out)


def main() -> None:
    try:
        with torch.no_grad():
            run(parse_args())
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
