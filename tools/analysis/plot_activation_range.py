"""Shows which part of a layer's input each observer keeps: a table, and a figure if wanted.

python tools/analysis/plot_activation_range.py PTQ_CONFIG LAYER [--num-samples 32] [--out range.png]

The values that enter LAYER in the float model are counted on the calibration data of the config;
min-max, percentile, entropy and the grid searches each choose a range. The figure (needs
matplotlib: pip install mmptq[plot]) has the histogram with the thresholds.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import TASK_UTILS

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.engine.ptq_config import add_ptq_arguments, ptq_config
from mmptq.engine.run_context import context_of
from mmptq.observers import StreamingHistogram
from mmptq.quantization import QuantizationError
from mmptq.report import format_table
from mmptq.utils.cli import make_parser
from mmptq.utils.files import complete_file
from mmptq.utils.hooks import temporary_hooks

OBSERVERS = {
    'min-max': dict(type='MinMaxObserver'),
    'LiDAR-PTQ grid': dict(type='LpObserver', p=2.0, low=0.5, high=1.2, num_candidates=101),
    'mean squared error': dict(type='LpObserver', p=2.0),
    'percentile 99.99': dict(type='PercentileObserver', percentile=99.99),
    'entropy': dict(type='EntropyObserver'),
    'entropy with zeros': dict(type='EntropyObserver', count_zeros=True),
}


def parse_args():
    parser = make_parser(__doc__)
    parser.add_argument('layer', help='name of a quantized layer')
    add_ptq_arguments(parser)
    parser.add_argument('--num-samples', type=int, default=32, help='calibration samples')
    parser.add_argument('--out', help='the figure; none is drawn without it')
    return parser.parse_args()


@torch.no_grad()
def watch(ctx, plan) -> tuple[StreamingHistogram, dict]:
    """Histogram of a layer's input over all samples, and every observer fed with it."""
    histogram = StreamingHistogram(256)
    observers = {
        name: TASK_UTILS.build(dict(cfg, scheme=plan.act)) for name, cfg in OBSERVERS.items()
    }

    def hook(layer, args):
        values = getattr(args[0], 'features', args[0]).detach()
        histogram.update(values.flatten(), float(values.min()), float(values.max()))
        for observer in observers.values():
            observer.update(values)

    with temporary_hooks({ctx.model.get_submodule(plan.name): hook}):
        for data in ctx.batches('watch'):
            ctx.predict(data)
    return histogram, observers


def kept_range(observer, scheme) -> tuple[float, float]:
    """Smallest and largest value that the chosen grid represents."""
    scale, zero_point = (float(q) for q in observer.qparams())
    return (scheme.qmin - zero_point) * scale, (scheme.qmax - zero_point) * scale


def table(histogram: StreamingHistogram, ranges: dict) -> list[dict]:
    """One row for each observer: its range, and the values that it clips."""
    negative, positive = histogram.sides()
    total = max(1, int(negative.sum() + positive.sum()))
    rows = []
    for name, (low, high) in ranges.items():
        outside = [
            float(side[max(0, round(end / histogram.width)) :].sum())
            for side, end in ((negative, -low), (positive, high))
        ]
        rows.append(
            {
                'observer': name,
                'low': low,
                'high': high,
                'values clipped': int(sum(outside)),
                'of all but zeros': f'{sum(outside) / total:.3%}',
            }
        )
    return rows


def draw(histogram: StreamingHistogram, ranges: dict, layer: str, out: str) -> None:
    """Write the figure."""
    try:
        import matplotlib
    except ImportError as error:
        raise QuantizationError(
            'the figure needs matplotlib: run `pip install mmptq[plot]`'
        ) from error
    matplotlib.use('Agg')
    from matplotlib import pyplot

    negative, positive = histogram.sides()
    edges = histogram.width * (np.arange(len(negative) + len(positive)) - len(negative))
    figure, axes = pyplot.subplots(figsize=(10, 4.5))
    counts = torch.cat((negative.flip(0), positive)).numpy()
    axes.bar(edges, counts, width=histogram.width, align='edge', color='0.6')
    for index, (name, (low, high)) in enumerate(ranges.items()):
        axes.axvline(high, color=f'C{index}', label=f'{name}: {low:.2f} to {high:.2f}')
        if low < 0:
            axes.axvline(low, color=f'C{index}')
    share = histogram.num_zeros / histogram.total
    axes.set(
        yscale='log',
        xlabel=f'value entering {layer}',
        ylabel='count (log)',
        title=f'{share:.1%} of the values are zero (not drawn)',
    )
    axes.legend()
    with complete_file(out) as temporary:
        figure.savefig(
            temporary, dpi=110, bbox_inches='tight', format=Path(out).suffix[1:] or 'png'
        )


def run(args) -> None:
    ctx = context_of(ptq_config(args), args.num_samples)
    plans = {plan.name: plan for plan in ctx.plan.layers if plan.act is not None}
    if args.layer not in plans:
        raise QuantizationError(
            f"'{args.layer}' is no layer with a quantized input: use one of {', '.join(plans)}"
        )
    histogram, observers = watch(ctx, plans[args.layer])
    scheme = plans[args.layer].act
    ranges = {name: kept_range(observer, scheme) for name, observer in observers.items()}
    print(f'{histogram.num_zeros / histogram.total:.1%} of {histogram.total} values are zero')
    print(format_table(table(histogram, ranges)))
    if args.out:
        draw(histogram, ranges, args.layer, args.out)


def main() -> None:
    args = parse_args()
    try:
        run(args)
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
