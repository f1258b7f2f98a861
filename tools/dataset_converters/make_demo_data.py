"""Generates the labelled demo data sets.

python tools/dataset_converters/make_demo_data.py coco    # or nuscenes, or lane
"""

import argparse
import sys
import time
from pathlib import Path

from mmptq.utils.cli import tool_parser


class ProgressLine:
    """Shows done/total and the estimated remaining time on one terminal line."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.shown < 0.5:
            return
        self.shown = now
        remaining = (now - self.start) / done * (total - done)
        line = f'\r{done}/{total}, {remaining:.0f} s left '
        print(line, end='\n' if done == total else '', flush=True)


def make_coco(args: argparse.Namespace) -> bool:
    from mmptq.demo.coco_scenes import generate

    return generate(
        args.out,
        train=args.train,
        val=args.val,
        seed=args.seed,
        width=args.width,
        height=args.height,
        on_progress=ProgressLine(),
    )


def add_coco(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser('coco', help='COCO format: textured objects on clutter')
    parser.add_argument('--out', type=Path, default=Path('data/demo_coco'))
    parser.add_argument('--train', type=int, default=1600, help='number of training images')
    parser.add_argument('--val', type=int, default=300, help='number of validation images')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--width', type=int, default=320)
    parser.add_argument('--height', type=int, default=256)
    parser.set_defaults(make=make_coco)


def make_nuscenes(args: argparse.Namespace) -> bool:
    from mmptq.demo.nuscenes_scenes import generate

    return generate(
        args.out,
        train=args.train,
        val=args.val,
        keyframes=args.keyframes,
        columns=args.columns,
        seed=args.seed,
        image_size=(args.width, args.height) if args.cameras else None,
        on_progress=ProgressLine(),
    )


def add_nuscenes(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser('nuscenes', help='nuScenes format: LiDAR and camera streets')
    parser.add_argument('--out', type=Path, default=Path('data/demo_nuscenes'))
    parser.add_argument('--train', type=int, default=90, help='number of training scenes')
    parser.add_argument('--val', type=int, default=20, help='number of validation scenes')
    parser.add_argument('--keyframes', type=int, default=3, help='labelled frames per scene')
    parser.add_argument('--columns', type=int, default=400, help='azimuth steps of the sensor')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--width', type=int, default=384, help='pixels of the images')
    parser.add_argument('--height', type=int, default=224)
    parser.add_argument('--no-cameras', dest='cameras', action='store_false', help='LiDAR only')
    parser.set_defaults(make=make_nuscenes)


def make_lane(args: argparse.Namespace) -> bool:
    from mmptq.demo.lane_scenes import generate

    return generate(
        args.out,
        train=args.train,
        val=args.val,
        seed=args.seed,
        width=args.width,
        height=args.height,
        on_progress=ProgressLine(),
    )


def add_lane(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser('lane', help='CULane format: road scenes with lanes')
    parser.add_argument('--out', type=Path, default=Path('data/demo_lane'))
    parser.add_argument('--train', type=int, default=2000, help='number of training images')
    parser.add_argument('--val', type=int, default=300, help='number of validation images')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--width', type=int, default=820, help='CULane has 1640')
    parser.add_argument('--height', type=int, default=295, help='CULane has 590')
    parser.set_defaults(make=make_lane)


def main() -> None:
    parser = tool_parser(__doc__)
    subparsers = parser.add_subparsers(dest='data_set', required=True, prog=parser.prog)
    add_coco(subparsers)
    add_nuscenes(subparsers)
    add_lane(subparsers)
    args = parser.parse_args()
    try:
        made = args.make(args)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: {"made" if made else "already there with these parameters"}')


if __name__ == '__main__':
    main()
