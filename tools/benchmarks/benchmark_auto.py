"""The default command on several networks: float and quantized metric, output loss, what was done.

python tools/benchmarks/benchmark_auto.py [NAME ...] [--peers] [--work-dir DIR]    # default: all
python tools/benchmarks/benchmark_auto.py --list    # names and configs

Each network is quantized by tools/ptq.py without a scheme, a recipe or the policy of its config, in
a process of its own. A network whose result lies in the work directory is not run again. --peers
adds the recipe 'mse' with the scheme int8. Networks on real data need MMPTQ_DATA, see
docs/benchmarks/real.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from run_tool import ToolError, run_tool

from mmptq.quantization import QuantizationError
from mmptq.report import find_record, format_table, main_metric
from mmptq.utils.cli import tool_parser

DEMO, LANE = 'configs/demo', 'configs/lane'
# Name to config and checkpoint; None where the config names its own.
NETWORKS: dict[str, tuple[str, str | None]] = {
    'yolox': ('configs/yolox/yolox_nano_coco-mini.py', None),
    'bccd': (
        'configs/bccd/retinanet_r18_fpn_bccd.py',
        'configs/bccd/checkpoints/retinanet_r18_fpn_bccd.pth',
    ),
    'pointpillars': ('configs/kitti/pointpillars_kitti-mini.py', None),
    'centerpoint-kitti': (
        'configs/kitti/centerpoint_pillar_kitti-mini.py',
        'configs/kitti/checkpoints/centerpoint_pillar_kitti-mini.pth',
    ),
    'lstr-culane': (f'{LANE}/lstr_r18s_culane-frames.py', 'work_dirs/lstr_culane.pth'),
    'lstr-tusimple': (f'{LANE}/lstr_r18s_tusimple-frames.py', 'work_dirs/lstr_tusimple.pth'),
    **{
        name: (f'{DEMO}/{file}.py', f'{DEMO}/checkpoints/{file}.pth')
        for name, file in {
            'retinanet': 'retinanet_r18_fpn_demo-coco',
            'atss': 'atss_r18_fpn_demo-coco',
            'faster-rcnn': 'faster-rcnn_r18_fpn_demo-coco',
            'centerpoint-pillar': 'centerpoint_pillar_demo-nus',
            'centerpoint-voxel': 'centerpoint_voxel_demo-nus',
            'clrnet': 'clrnet_r18_demo-lane',
            'laneatt': 'laneatt_r18_demo-lane',
            'bezierlanenet': 'bezierlanenet_r18_demo-lane',
        }.items()
    },
}
COMMANDS = {'auto': (), 'mse': ('--scheme', 'int8', '--recipe', 'mse')}


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('names', nargs='*', help='networks; default: all of them')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--peers', action='store_true', help='also int8 with the recipe mse')
    parser.add_argument('--policy', action='store_true', help='with the exceptions of the configs')
    parser.add_argument('--backend', help='for a backend of configs/_base_/backends')
    parser.add_argument('--work-dir', default='work_dirs/benchmark_auto')
    return parser.parse_args()


def quantize(name: str, recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """The row of a network; runs it unless its result is there."""
    folder = Path(args.work_dir) / f'{name}_{recipe}'
    if find_record(folder, 'result') is None:
        folder.mkdir(parents=True, exist_ok=True)
        config, checkpoint = NETWORKS[name]
        given = [config, *([checkpoint] if checkpoint else []), *COMMANDS[recipe]]
        given += ['--backend', args.backend] if args.backend else []
        options = [] if args.policy else ['ptq=None']
        options += [] if args.policy else ['calibration.default_samples=64']
        given += ['--cfg-options', *options] if options else []
        run_tool('ptq', *given, '--work-dir', folder, log=folder / 'log.txt')
    result = find_record(folder, 'result')
    before, after = result['float'], result['quantized']
    metric = main_metric(before) if before else None
    return dict(
        network=name,
        recipe=recipe,
        metric=metric,
        float=before.get(metric),
        quantized=after.get(metric),
        difference=after[metric] - before[metric] if metric else None,
        **search_columns(folder),
    )


def search_columns(folder: Path) -> dict[str, Any]:
    """What the search for remedies did in a run, and its seconds."""
    result, found = find_record(folder, 'result'), find_record(folder, 'auto') or {}
    steps = [step for step in found.get('steps', ()) if step['kept']]
    return dict(
        loss=f'{found["before"]:.2g} -> {found["after"]:.2g}' if found else None,
        done=', '.join(f'{s["remedy"]} ({len(s["layers"])})' for s in steps) or '-',
        seconds=f'{result["seconds"]:.0f}',
    )


def main() -> None:
    args = parse_args()
    if args.list:
        print(format_table([dict(name=name, config=cfg) for name, (cfg, _) in NETWORKS.items()]))
        return
    unknown = [name for name in args.names if name not in NETWORKS]
    if unknown:
        sys.exit(f"error: there is no network '{unknown[0]}': use one of {', '.join(NETWORKS)}")
    rows = []
    for name in args.names or NETWORKS:
        for recipe in COMMANDS if args.peers else ('auto',):
            try:
                rows.append(quantize(name, recipe, args))
            except ToolError as error:
                print(f'{name}: {error.last_line}', file=sys.stderr)
            except QuantizationError as error:
                sys.exit(f'error: {error}')
    print(format_table(rows))


if __name__ == '__main__':
    main()
