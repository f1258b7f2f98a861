"""Strips a training checkpoint to half-precision weights and plain meta data.

python tools/model_converters/publish_model.py work_dirs/x/epoch_12.pth model.pth
"""

import os
import sys
from collections import OrderedDict
from pathlib import Path

import torch

from mmptq.compat.safe_globals import register_safe_globals
from mmptq.utils.cli import tool_parser
from mmptq.utils.messages import first_line


def to_plain(value: object) -> object:
    """Returns the plain part of a value: dicts, lists, tuples, strings, numbers and booleans."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(item) for item in value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def to_half(state_dict: dict) -> dict:
    """Returns the state dict with floating point tensors in half precision.

    Raises:
        ValueError: If a finite value does not fit into half precision.
    """
    published = OrderedDict()
    # The versions of the modules: without them mmdet3d would take the kernels of spconv 2 for
    # those of spconv 1 and permute their axes on loading.
    published._metadata = getattr(state_dict, '_metadata', OrderedDict())
    for name, tensor in state_dict.items():
        if tensor.is_floating_point():
            half = tensor.detach().cpu().half()
            if not torch.isfinite(half).all():
                raise ValueError(f"'{name}' holds values that half precision cannot hold.")
            tensor = half
        published[name] = tensor.clone()
    return published


def load_training_checkpoint(path: Path) -> dict:
    """Loads a checkpoint of mmengine without executing anything from the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint with a 'state_dict'.
    """
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch fails on broken files with whatever it stumbles over
        raise ValueError(
            f"'{path}' is truncated or no checkpoint of mmengine ({first_line(error)}): "
            'give one that training saved.'
        ) from error
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise ValueError(f"'{path}' has no 'state_dict': give a checkpoint saved by mmengine.")
    return checkpoint


def publish(source: Path, target: Path) -> None:
    """Writes the stripped checkpoint; it appears under its name only when complete.

    Args:
        source (Path): Checkpoint saved by mmengine.
        target (Path): File to write: ``state_dict`` and ``meta['dataset_meta']``.
    """
    checkpoint = load_training_checkpoint(source)
    meta = {'dataset_meta': to_plain(checkpoint.get('meta', {}).get('dataset_meta') or {})}
    published = {'state_dict': to_half(checkpoint['state_dict']), 'meta': meta}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{target.name}.partial')
    try:
        torch.save(published, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('source', type=Path, help='checkpoint saved by the training loop')
    parser.add_argument('target', type=Path, help='file to write')
    args = parser.parse_args()
    register_safe_globals()
    try:
        publish(args.source, args.target)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.target}: {args.target.stat().st_size / 2**20:.1f} MB')


if __name__ == '__main__':
    main()
