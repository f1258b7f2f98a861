"""Quantized checkpoints describe themselves: tensors and plain data, loaded strictly."""

from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from mmptq.quantization import QuantizationError, QuantPlan
from mmptq.quantization.packed_state import pack_state, unpack_state
from mmptq.utils.files import complete_file
from mmptq.utils.messages import first_line
from mmptq.utils.models import unwrap
from mmptq.utils.trees import to_plain
from mmptq.version import __version__

from .sealed_state import description_of, seal, unseal

META_KEY = 'quantizer'
PACKED_KEY = 'packed_weights'
SMALL_TENSOR = 4096  # bytes


def save_quantized(
    model: nn.Module, plan: QuantPlan, path: str | Path, dataset_meta: dict, config: str
) -> None:
    """Write a frozen quantized model as a checkpoint of tensors and plain data.

    Quantized weights are stored as packed integers, everything else as it is.

    Args:
        model (nn.Module): Quantized and frozen.
        plan (QuantPlan): What was folded and quantized.
        path (str | Path): The file; it appears only when it is complete.
        dataset_meta (dict): ``metainfo`` of the data set, for OpenMMLab's inference tools.
        config (str): Text of the config.
    """
    model = unwrap(model)
    state = model.state_dict()
    # In place, so that the versions of the modules (``_metadata``) stay attached: without them
    # mmdet3d would take the kernels of spconv 2 for those of spconv 1 and permute their axes.
    description = {PACKED_KEY: pack_state(model, state), META_KEY: plan.to_dict()}
    _compact(state)
    seal(state, description)
    meta = {
        **description,
        'mmptq_version': __version__,
        'dataset_meta': to_plain(dataset_meta),
        'cfg': config,
    }
    with complete_file(path) as temporary:
        torch.save({'state_dict': state, 'meta': meta}, temporary)


def _compact(state: dict[str, torch.Tensor]) -> None:
    """Detach tensors from the model, in place, in the form that makes the smallest file.

    Each storage costs about 300 bytes: small tensors of one type share one. A large one leaves the
    rest of a storage behind that it is a view of.
    """
    small: dict[torch.dtype, dict[tuple, torch.Tensor]] = {}
    for key, value in state.items():
        value = state[key] = value.detach().cpu()
        if 0 < value.nbytes < SMALL_TENSOR:
            small.setdefault(value.dtype, {})[_identity(value)] = value
        elif value.untyped_storage().nbytes() > value.nbytes:
            state[key] = value.clone()
    views = {}
    for tensors in small.values():
        flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
        parts = flat.split([tensor.numel() for tensor in tensors.values()])
        views.update(zip(tensors, parts, strict=True))
    for key, value in state.items():
        if _identity(value) in views:
            state[key] = views[_identity(value)].view(value.shape)


def _identity(tensor: torch.Tensor) -> tuple:
    """The same for one tensor under several names."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint file without executing anything that it holds.

    Packed weights come back as float tensors under the names that the model has for them.

    Raises:
        QuantizationError: If it is missing, truncated, not a checkpoint, or holds code.
    """
    address = '://' in str(path)  # https://, torchvision:// and what else mmengine can fetch
    if not address and not Path(path).is_file():
        raise QuantizationError(f"checkpoint '{path}' does not exist: check the path")
    try:
        if address:
            checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
        else:
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise QuantizationError(
            f"checkpoint '{path}' cannot be read ({first_line(error)}): it is truncated, not a "
            'PyTorch checkpoint, or holds more than tensors and plain data'
        ) from error
    if not isinstance(checkpoint, dict):
        raise QuantizationError(f"checkpoint '{path}' holds no state dict: it is not a checkpoint")
    unpack_checkpoint(checkpoint)
    return checkpoint


def unpack_checkpoint(checkpoint: dict[str, Any]) -> None:
    """Turn packed weights into float tensors, in place; others stay as they are."""
    state = checkpoint.get('state_dict')
    description = unseal(state) or {}
    meta = checkpoint.get('meta') or {}
    table = meta.pop(PACKED_KEY, None) or description.get(PACKED_KEY)
    if table is not None:
        unpack_state(state, table)


def unpacked_state(path: str | Path) -> dict[str, torch.Tensor]:
    """The dense state dict of a quantized checkpoint, as the model has it."""
    return read_checkpoint(path)['state_dict']


def plan_of(checkpoint: dict[str, Any]) -> QuantPlan | None:
    """The quantizer description of a checkpoint, or None for a float one."""
    described = description_of(checkpoint.get('state_dict')) or {}
    data = (checkpoint.get('meta') or {}).get(META_KEY) or described.get(META_KEY)
    return None if data is None else QuantPlan.from_dict(data)


def check_keys(model: nn.Module, state: dict[str, torch.Tensor], strict: bool) -> list[str]:
    """Compare a state dict with the model that it is for.

    Args:
        model (nn.Module): The model.
        state (dict): The state dict.
        strict (bool): Whether unexpected keys are an error.

    Returns:
        list[str]: Unexpected keys (if not ``strict``).

    Raises:
        QuantizationError: For missing, misshapen or (if ``strict``) unexpected keys.
    """
    own = model.state_dict()
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
    unexpected = [key for key in state if key not in own]
    # The kernels of spconv 1 and 2 have other axis orders; mmdet3d permutes them on loading.
    misshapen = [k for k in own if k in state and own[k].numel() != state[k].numel()]
    for problem, keys in (('lacks', missing), ('has another shape for', misshapen)):
        if keys:
            raise QuantizationError(
                f'the checkpoint {problem} {len(keys)} keys of the model, the first is '
                f"'{keys[0]}': its architecture differs from that of the config"
            )
    if strict and unexpected:
        raise QuantizationError(
            f'the checkpoint has {len(unexpected)} unexpected keys, the first is '
            f"'{unexpected[0]}': use the config that it was made with"
        )
    return unexpected
