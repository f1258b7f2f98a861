"""The default command on trained networks that are rewritten to be hard to quantize.

python tools/benchmarks/benchmark_uneven.py [CASE ...] [--num-samples 16] [--images 100]
python tools/benchmarks/benchmark_uneven.py --list

Each case is a demo detector that computes what it computed before: channels are multiplied where
they are written and divided where they are read, or blocks that are the identity are put in. A
rewritten network whose float metric stays should be quantized as well as the original one.
--options at the end go to tools/ptq.py.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from benchmark_auto import search_columns
from mmengine.config import Config
from run_tool import ToolError, run_tool
from uneven import FACTORS, scale_channels

from mmptq.engine.build import build_model, load_model
from mmptq.quantization import QuantizationError
from mmptq.report import find_record, format_table, main_metric
from mmptq.utils.cli import read_config, tool_parser

DEMO = 'configs/demo'
MODELS = dict(
    retinanet='retinanet_r18_fpn_demo-coco',
    atss='atss_r18_fpn_demo-coco',
    **{'faster-rcnn': 'faster-rcnn_r18_fpn_demo-coco'},
)
ACTIVATIONS = ('SiLU', 'GELU', 'Hardswish')
# Case to network, factors, activation of detours, and variances of box coordinates.
CASES: dict[str, tuple[str, str | None, str | None, list[float] | None]] = {
    **{f'{model}-plain': (model, None, None, None) for model in MODELS},
    **{f'{model}-{kind}': (model, kind, None, None) for model in MODELS for kind in FACTORS},
    **{f'retinanet-{act.lower()}': ('retinanet', 'uneven', act, None) for act in ACTIVATIONS},
    'retinanet-boxes': ('retinanet', None, None, [0.01, 0.1, 10.0, 100.0]),
}


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('cases', nargs='*', help='default: all of them')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--num-samples', type=int, default=16)
    parser.add_argument('--images', type=int, default=100, help='for the metric; 0: no metric')
    parser.add_argument('--work-dir', default='work_dirs/benchmark_uneven')
    parser.add_argument('--options', nargs=argparse.REMAINDER, default=[], help='for tools/ptq.py')
    return parser.parse_args()


def rewrite(case: str, folder: Path, images: int) -> tuple[Path, Path]:
    """Config and checkpoint of a case."""
    model, kind, act, stds = CASES[case]
    file = f'{DEMO}/{MODELS[model]}.py'
    cfg = read_config(file)
    source = f'{DEMO}/checkpoints/{MODELS[model]}.pth'
    if images:
        cut_images(cfg, folder / 'val.json', images)
    else:
        cfg.update(dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg')))
    detector = load_model(cfg, source, quantized=False)
    if kind and not act:
        scale_channels(detector, torch.rand(1, 3, 256, 320), FACTORS[kind])
    if stds:
        scale_boxes(detector.bbox_head.retina_reg, cfg, stds)
    state = detector.state_dict()
    if act:
        cfg.custom_imports = dict(imports=['uneven'], allow_failed_imports=False)
        cfg.model.backbone.update(type='DetourResNet', detour_act=act, detour_factors=kind)
        state = {**build_model(cfg).state_dict(), **state}
    checkpoint, config = folder / 'float.pth', folder / 'config.py'
    torch.save(dict(state_dict=state), checkpoint)
    cfg.dump(str(config))
    return config, checkpoint


@torch.no_grad()
def scale_boxes(layer: torch.nn.Conv2d, cfg: Config, stds: list[float]) -> None:
    """Divide the box outputs by factors that the decoder multiplies with."""
    before = cfg.model.bbox_head.bbox_coder.target_stds
    factors = torch.tensor(stds).repeat(len(layer.bias) // 4)
    layer.weight.div_(factors.view(-1, 1, 1, 1))
    layer.bias.div_(factors)
    cfg.model.bbox_head.bbox_coder.target_stds = [x * y for x, y in zip(before, stds, strict=True)]


def cut_images(cfg: Config, path: Path, count: int) -> None:
    """Evaluate on the first images only."""
    data = cfg.val_dataloader.dataset
    found = json.loads((Path(data.data_root) / data.ann_file).read_text())
    found['images'] = found['images'][:count]
    kept = {image['id'] for image in found['images']}
    found['annotations'] = [x for x in found['annotations'] if x['image_id'] in kept]
    path.write_text(json.dumps(found))
    for part in ('val', 'test'):
        cfg[f'{part}_dataloader'].dataset.ann_file = str(path.resolve())
        cfg[f'{part}_dataloader'].update(num_workers=0, persistent_workers=False)
        cfg[f'{part}_evaluator'].ann_file = str(path.resolve())


def measure(case: str, args: argparse.Namespace) -> dict[str, Any]:
    """The row of a case."""
    folder = Path(args.work_dir) / case
    folder.mkdir(parents=True, exist_ok=True)
    if find_record(folder, 'result') is None:
        config, checkpoint = rewrite(case, folder, args.images)
        run_tool(
            *('ptq', config, checkpoint, '--work-dir', folder, *args.options),
            *('--cfg-options', f'calibration.num_samples={args.num_samples}', 'ptq=None'),
            log=folder / 'log.txt',
        )
    result = find_record(folder, 'result')
    before, after = result['float'], result['quantized']
    metric = main_metric(before) if before else None
    return dict(
        case=case,
        float=f'{before[metric]:.3f}' if metric else None,
        quantized=f'{after[metric]:.3f}' if metric else None,
        **search_columns(folder),
    )


def main() -> None:
    args = parse_args()
    if args.list:
        print('\n'.join(CASES))
        return
    unknown = [case for case in args.cases if case not in CASES]
    if unknown:
        sys.exit(f"error: there is no case '{unknown[0]}': use one of {', '.join(CASES)}")
    # tools/ptq.py has to find the backbones of uneven.py.
    path = os.environ.get('PYTHONPATH')
    folder = str(Path(__file__).parent)
    os.environ['PYTHONPATH'] = f'{folder}{os.pathsep}{path}' if path else folder
    rows = []
    for case in args.cases or CASES:
        try:
            rows.append(measure(case, args))
            print(rows[-1], flush=True)
        except ToolError as error:
            print(f'{case}: {error.last_line}', file=sys.stderr)
        except QuantizationError as error:
            sys.exit(f'error: {error}')
    print(format_table(rows))


if __name__ == '__main__':
    main()
