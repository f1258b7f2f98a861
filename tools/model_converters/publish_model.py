"""Strips a checkpoint to what others need to run the model.

python tools/model_converters/publish_model.py work_dirs/x/epoch_12.pth model.pth

A training checkpoint keeps its weights in half precision and the names of its classes. A quantized
checkpoint keeps its integers, scales and quantizer description bit for bit.
"""

import os
import sys
from collections import OrderedDict
from pathlib import Path

import torch

from mmptq.compat.safe_globals import register_safe_globals
from mmptq.engine.checkpoint import META_KEY, PACKED_KEY
from mmptq.utils.cli import tool_parser
from mmptq.utils.messages import first_line
from mmptq.utils.trees import to_plain


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
        target (Path): File to write: ``state_dict`` and ``meta`` with ``dataset_meta`` and, for a
            quantized checkpoint, the description of its quantizers.
    """
    checkpoint = load_training_checkpoint(source)
    state, full = checkpoint['state_dict'], checkpoint.get('meta') or {}
    meta = {'dataset_meta': to_plain(full.get('dataset_meta') or {})}
    if META_KEY in full:
        # Half precision would change every scale.
        kept = (META_KEY, PACKED_KEY, 'mmptq_version')
        meta.update({key: full[key] for key in kept if key in full})
    else:
        state = to_half(state)
    published = {'state_dict': state, 'meta': meta}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{target.name}.partial')
    try:
        torch.save(published, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('source', type=Path, help='checkpoint of a training or of tools/ptq.py')
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
