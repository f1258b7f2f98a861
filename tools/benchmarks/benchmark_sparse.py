"""Time submanifold convolutions on a CPU: spconv in float, and gather, int8 product, scatter.

python tools/benchmarks/benchmark_sparse.py [--sites 30000] [--rounds 7]
"""

import time
from collections.abc import Callable

import torch
from spconv import pytorch as spconv
from torch import Tensor

import mmptq  # noqa: F401  (checks the environment)
from mmptq.report import format_table
from mmptq.utils.cli import tool_parser

CENTER, OFFSETS = 13, 27
EXTENT = 200


def make_tensor(sites: int, channels: int) -> spconv.SparseConvTensor:
    """Non-negative features on random sites of a tilted surface, as roads and walls are."""
    plane = torch.cartesian_prod(torch.arange(EXTENT), torch.arange(EXTENT))
    plane = plane[torch.randperm(len(plane))[:sites]]
    height = (plane.sum(1) // 37) % 9
    indices = torch.cat([torch.zeros(len(plane), 1), height[:, None], plane], 1).int()
    features = torch.randn(len(plane), channels).relu()
    return spconv.SparseConvTensor(features, indices, [9, EXTENT, EXTENT], 1)


def neighbour_pairs(output: spconv.SparseConvTensor) -> list[tuple[int, Tensor, Tensor]]:
    """Kernel offset, input rows and output rows of all pairs of different sites."""
    data = output.indice_dict['sites']
    pairs, counts = data.indice_pairs.long(), data.indice_pair_num
    half = [(k, pairs[0, k, : counts[k]], pairs[1, k, : counts[k]]) for k in range(CENTER)]
    # spconv stores one half: the other one has the same pairs the other way round.
    return half + [(OFFSETS - 1 - k, b, a) for k, a, b in half]


def convolve_integers(x: Tensor, weights: list[Tensor], pairs: list, scale: Tensor) -> Tensor:
    """Sum over kernel offsets of int8 products; x (N, C) and weights (C, C) are int8."""
    result = torch._int_mm(x, weights[CENTER]).float()
    for offset, source, target in pairs:
        # An int32 scatter would be five to thirty times slower than a float one.
        result.index_add_(0, target, torch._int_mm(x[source], weights[offset]).float())
    return result * scale


def milliseconds(run: Callable[[], Tensor], rounds: int) -> float:
    """Shortest of some runs, after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])


def compare(channels: int, sites: int, rounds: int) -> dict[str, str]:
    """One row of the table."""
    layer = spconv.SubMConv3d(channels, channels, 3, bias=False, indice_key='sites')
    x = make_tensor(sites, channels)
    output = layer(x)
    known = output.replace_feature(x.features)  # finding the pairs is not part of either
    pairs = neighbour_pairs(output)
    weight = layer.weight.reshape(channels, OFFSETS, channels)
    x_scale, weight_scale = x.features.abs().max() / 127, weight.abs().max() / 127
    integers = torch.round(x.features / x_scale).to(torch.int8)
    weights = [
        torch.round(weight[:, k] / weight_scale).to(torch.int8).t().contiguous()
        for k in range(OFFSETS)
    ]
    scale = x_scale * weight_scale
    error = convolve_integers(integers, weights, pairs, scale) - output.features
    float_time = milliseconds(lambda: layer(known).features, rounds)
    integer_time = milliseconds(lambda: convolve_integers(integers, weights, pairs, scale), rounds)
    return {
        'channels': str(channels),
        'pairs': str(sum(len(source) for _, source, _ in pairs) + len(integers)),
        'float ms': f'{float_time:.1f}',
        'int8 ms': f'{integer_time:.1f}',
        'ratio': f'{float_time / integer_time:.2f}',
        'error': f'{float(error.norm() / output.features.norm()):.3f}',
    }


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('--sites', type=int, default=30000)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--channels', type=int, nargs='+', default=[16, 32, 64, 128])
    args = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        rows = [compare(channels, args.sites, args.rounds) for channels in args.channels]
    print(format_table(rows))


if __name__ == '__main__':
    main()
