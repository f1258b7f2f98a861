"""Picture of what DetPTQ's search found: the loss of each exponent p for each layer.

    python tools/analysis/plot_lp_selection.py WORK_DIR/lp_selection.json [--out FILE.png]

A column is a layer, in the order in which they run; the colour is how much more a candidate costs
than the best one, in percent, and a dot marks the choice.
"""

import json
import sys
from pathlib import Path

import numpy as np

from mmptq.utils.cli import tool_parser
from mmptq.utils.files import complete_file

MOST_PERCENT = 50


def loss_table(tensors: list[dict]) -> tuple[list[float], np.ndarray, list[int]]:
    """Exponents, excess cost in percent (exponents x tensors) and rows of the choices."""
    exponents = sorted({c['p'] for tensor in tensors for c in tensor['candidates']})
    table = np.full((len(exponents), len(tensors)), np.nan)
    for column, tensor in enumerate(tensors):
        for candidate in tensor['candidates']:
            excess = candidate['loss'] / max(tensor['loss'], 1e-12) - 1
            table[exponents.index(candidate['p']), column] = 100 * max(excess, 0)
    return exponents, table, [exponents.index(tensor['p']) for tensor in tensors]


def draw(report: dict, path: Path) -> None:
    """Write the picture."""
    try:
        import matplotlib
    except ImportError:
        sys.exit('error: the figure needs matplotlib: run `pip install mmptq[plot]`')
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    kinds = [k for k in ('weight', 'input') if any(t['tensor'] == k for t in report['tensors'])]
    count = max(sum(t['tensor'] == kind for t in report['tensors']) for kind in kinds)
    figure, axes = plt.subplots(
        len(kinds), 1, figsize=(2 + 0.25 * count, 3.5 * len(kinds)), squeeze=False
    )
    for axis, kind in zip(axes[:, 0], kinds, strict=True):
        tensors = [t for t in report['tensors'] if t['tensor'] == kind]
        exponents, table, chosen = loss_table(tensors)
        image = axis.imshow(table, aspect='auto', cmap='viridis_r', vmin=0, vmax=MOST_PERCENT)
        axis.plot(range(len(tensors)), chosen, 'o', color='red', markersize=4)
        axis.set_yticks(range(len(exponents)), [f'{p:g}' for p in exponents])
        axis.set_xticks(range(len(tensors)), [t['name'] for t in tensors], rotation=90, fontsize=6)
        axis.set_ylabel('p')
        axis.set_title(f'{kind}s: loss above that of the best p, in percent')
        figure.colorbar(image, ax=axis)
    figure.tight_layout()
    with complete_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip('.') or 'png', dpi=120)
    plt.close(figure)


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('report', type=Path, help='lp_selection.json of a work directory')
    parser.add_argument('--out', type=Path, help='default: next to the report')
    args = parser.parse_args()
    try:
        report = json.loads(args.report.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"error: '{args.report}' cannot be read ({error}): give a lp_selection.json")
    path = args.out or args.report.with_suffix('.png')
    draw(report, path)
    print(f'{path} written')


if __name__ == '__main__':
    main()
