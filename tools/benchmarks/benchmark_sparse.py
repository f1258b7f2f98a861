"""Time a sparse encoder on a CPU: spconv in float and the sparse engine in integers, in turns.

python tools/benchmarks/benchmark_sparse.py configs/nuscenes/centerpoint_voxel01_keyframe.py \
    --points SCAN.bin --columns 5 [--threads 1 2] [--rounds 11]

Weights are drawn at random; the sites are those of the scan. A row per layer, neighbours known to
both: the convolution alone in float; in integers with bias, residual, ReLU and rounding for the
next layer. Then the neighbours of all layers, and the whole encoder with them.
"""

import sys

import numpy as np
import torch
from sparse_case import (
    EncoderCase,
    add_arguments,
    known_pairs,
    measure_norms,
    medians,
    random_detector,
    read_batches,
)

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.deploy.sparse_engine import SparseNetwork, load_library
from mmptq.quantization import QuantizationError
from mmptq.report import format_table
from mmptq.utils.cli import tool_parser
from mmptq.utils.files import write_json


def layer_runs(case: EncoderCase, networks: dict[str, SparseNetwork], number: int) -> dict:
    """Functions that compute one layer, by name."""
    conv, x, layer = case.convs[number], case.inputs[number], case.graph.layers[number]
    runs = {'float': lambda: conv(x)}
    features = x.features.numpy()
    for name, network in networks.items():
        coords = x.indices.numpy()
        order = np.argsort(np.lexsort(coords.T[::-1])).astype(np.int32)
        rows = {(layer.source, layer.grid): network.kernels.quantize(features, layer.grid, order)}
        floats = {}
        if layer.residual is not None:
            sites = len(network.coords(layer.target_sites))
            floats[layer.residual] = np.ones((sites, len(layer.weight)), np.float32)
        runs[name] = lambda network=network, rows=rows, floats=floats: network.run_layer(
            number, dict(rows), dict(floats)
        )
    return runs


def row_of(what: str, sizes: dict, times: dict[str, float]) -> dict[str, str]:
    """A row of the table: times, and how many times faster than float."""
    row = dict(layer=what, **sizes)
    for name, value in times.items():
        row[f'{name} ms'] = f'{value:.2f}'
    for name in list(times)[1:]:
        row[f'{name} ratio'] = f'{times["float"] / times[name]:.2f}'
    return row


def compare(case: EncoderCase, networks: dict[str, SparseNetwork], args) -> list[dict[str, str]]:
    """Rows of all layers, of the neighbours, and of the encoder."""
    import spconv.pytorch.ops as ops

    features, coords, batch = case.arguments
    arrays = features.numpy(), coords.numpy()
    for network in networks.values():
        network.find_neighbours(arrays[1], batch)
    rows = []
    some = next(iter(networks.values()))
    for number, layer in enumerate(case.graph.layers):
        with known_pairs():
            times = medians(layer_runs(case, networks, number), args.rounds, args.clock)
        sites = len(some.coords(layer.target_sites))
        channels = f'{layer.weight.shape[2]} to {len(layer.weight)}'
        name = layer.name.split('.', 1)[1]
        rows.append(row_of(name, dict(sites=str(sites), channels=channels), times))
    tables = {
        'float': lambda: [ops.get_indice_pairs(*call) for call in pair_searches(case)],
        **{
            name: lambda network=network: network.find_neighbours(arrays[1], batch)
            for name, network in networks.items()
        },
    }
    none = dict(sites='', channels='')
    rows.append(row_of('neighbours', none, medians(tables, args.rounds, args.clock)))
    whole = {
        'float': lambda: case.encoder(*case.arguments),
        **{
            name: lambda network=network: network(*arrays, batch)
            for name, network in networks.items()
        },
    }
    rows.append(row_of('encoder', none, medians(whole, args.rounds, args.clock)))
    return rows


def pair_searches(case: EncoderCase) -> list[tuple]:
    """Arguments of the searches for neighbours in one forward of the encoder."""
    import spconv.pytorch.ops as ops

    search, calls = ops.get_indice_pairs, []

    def note(*args):
        calls.append(args)
        return search(*args)

    if not hasattr(case, 'searches'):
        ops.get_indice_pairs = note
        try:
            case.encoder(*case.arguments)
        finally:
            ops.get_indice_pairs = search
        case.searches = calls
    return case.searches


def main() -> None:
    parser = tool_parser(__doc__)
    add_arguments(parser)
    parser.add_argument('--isa', help='instruction set (default: the fastest)')
    args = parser.parse_args()
    try:
        load_library()
        batches = read_batches(args.points, args.columns)
        detector = random_detector(args.config)
        measure_norms(detector, batches[:1])
        tables = {}
        for path, batch in zip(args.points, batches, strict=True):
            case = EncoderCase(detector, batch)
            networks = {
                f'int8, {threads} threads': SparseNetwork(case.graph, args.isa, threads)
                for threads in args.threads
            }
            torch.set_num_threads(1)  # spconv convolves on one in any case
            with torch.no_grad():
                tables[path] = compare(case, networks, args)
            print(f'\n{path}: {len(case.arguments[0])} voxels\n\n{format_table(tables[path])}')
        if args.out:
            write_json(tables, args.out)
    except (QuantizationError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
