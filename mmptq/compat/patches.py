"""The table of all patches of other packages, and the switch of each."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

VARIABLE = 'MMPTQ_DISABLE_PATCHES'


@dataclass(frozen=True)
class Patch:
    """A change of another package that mmptq makes.

    Attributes:
        name (str): What ``MMPTQ_DISABLE_PATCHES`` calls it.
        changes (str): What it changes.
        reason (str): Why.
        packages (str): Packages and versions that need it.
        when (str): When it acts.
        apply (str): ``module.function`` in this folder, which makes the change and returns the
            function that undoes it, or None where nothing is there to change. Empty for a patch
            that other code applies for a model or for a while; it asks ``is_enabled``.
    """

    name: str
    changes: str
    reason: str
    packages: str
    when: str = 'on import'
    apply: str = ''


PATCHES = (
    Patch(
        'safe_globals',
        "names mmengine's types for `torch.load(weights_only=True)`",
        "training checkpoints hold `HistoryBuffer`, numpy scalars and a scheduler's methods, which "
        'torch refuses; everything else is still refused',
        'torch ≥ 2.6, mmengine 0.10',
        apply='safe_globals.register_safe_globals',
    ),
    Patch(
        'config_scope',
        "`Config._get_cfg_path` finds `mmptq::PATH` among the package's configs",
        'mmengine resolves `PACKAGE::PATH` in `_base_` for a fixed table of OpenMMLab packages',
        'mmengine 0.10',
        apply='config_scope.register_config_scope',
    ),
    Patch(
        'quantized_loading',
        '`mmengine.runner.checkpoint.load_state_dict` converts a float model before it loads a '
        'quantized checkpoint',
        '`init_detector`, `init_model`, `DetInferencer` and all that call `load_checkpoint` load '
        'what fits and only warn of the rest',
        'mmengine 0.10',
        apply='quantized_loading.load_quantized_checkpoints',
    ),
    Patch(
        'spconv_one_thread',
        '`ops.indice_conv` and `ops.indice_conv_backward` compute CPU tensors on one thread',
        'strided convolutions of CPU tensors race on several threads: outputs differ from run to '
        'run',
        'spconv 2.3.8',
        'on import; GPU tensors are not affected',
        apply='spconv_cpu.compute_on_one_thread',
    ),
    Patch(
        'spconv_no_stream',
        '`ops.get_current_stream` returns 0',
        'the backward pass asks CUDA for the current stream, also for CPU tensors, and fails where '
        'there is no GPU',
        'spconv 2.3.8',
        'on import, only where there is no GPU',
        apply='spconv_cpu.ask_for_no_stream',
    ),
    Patch(
        'spconv_empty_input',
        '`SparseConvolution.forward` accepts an input without active sites',
        'spconv refuses it, and a scan without points in range has no site',
        'spconv 2',
        apply='spconv_empty.accept_empty_input',
    ),
    Patch(
        'nuscenes_cameras',
        '`nusc_box_to_cam_box3d` of the nuScenes metric keeps its tensors on the CPU',
        'the metric calls `.cuda()` when it merges the detections of the six cameras, and fails '
        'where there is no GPU',
        'mmdet3d 1.4.0',
        'when an evaluator is built, only where there is no GPU',
        apply='nuscenes_cameras.merge_cameras_on_cpu',
    ),
    Patch(
        'ssd_head',
        '`SSDHead` has the attribute `loss_cls`: its own where it sets one, or None',
        'the prediction of all dense heads reads it, and SSD, which has none, cannot predict',
        'mmdet 3.3.0',
        apply='ssd_head.give_ssd_a_loss',
    ),
    Patch(
        'rotated_nms',
        '`nms_rotated` of `mmdet3d.models.layers.box3d_nms` compares only boxes of the CPU that '
        'are close enough to touch',
        'mmcv computes the overlap of all pairs: half of the time from points to boxes',
        'mmdet3d 1.4.0',
        'on import; the kept boxes are the same',
        apply='rotated_nms.skip_distant_boxes',
    ),
    Patch(
        'attention_unfused',
        'switches off the fast path of `nn.TransformerEncoderLayer` and `nn.MultiheadAttention`',
        'in eval mode it reads the weights of `linear1` and `linear2` itself, so that inputs are '
        'not quantized, unless a hook is attached',
        'torch',
        'for each model with such a module that mmptq quantizes or loads; for the whole process',
    ),
    Patch(
        'spconv_remembered_pairs',
        '`ops.get_indice_pairs` keeps the pairs of CPU tensors, up to 512 MiB',
        'the search takes more than a third of the forward of a voxel encoder',
        'spconv 2',
        'within stages that run samples many times',
    ),
    Patch(
        'empty_scans',
        "hooks on a detector's preprocessor and middle encoder add and remove one voxel",
        'mmdet3d reads the number of scans off the last voxel: a batch that ends in an empty scan '
        'fails',
        'mmdet3d 1.4.0, hard voxels',
        'for each model that mmptq quantizes or loads',
    ),
)

_undo: dict[str, Callable[[], None]] = {}


def apply_patches() -> None:
    """Apply all patches that are not switched off; calling it again changes nothing.

    Raises:
        ImportError: If ``MMPTQ_DISABLE_PATCHES`` names a patch that does not exist.
    """
    for patch in PATCHES:
        if patch.apply and patch.name not in _undo and is_enabled(patch.name):
            module, function = patch.apply.split('.')
            undo = getattr(import_module(f'mmptq.compat.{module}'), function)()
            if undo is not None:
                _undo[patch.name] = undo


def undo_patches() -> None:
    """Undo what ``apply_patches`` did, the last patch first."""
    while _undo:
        _undo.popitem()[1]()


def is_enabled(name: str) -> bool:
    """Whether a patch is not switched off by ``MMPTQ_DISABLE_PATCHES=name1,name2``."""
    known = [patch.name for patch in PATCHES]
    disabled = [part.strip() for part in os.environ.get(VARIABLE, '').split(',') if part.strip()]
    for other in disabled:
        if other not in known:
            raise ImportError(
                f"{VARIABLE} names an unknown patch '{other}': use {', '.join(known)}"
            )
    return name not in disabled


def replace_attribute(owner: object, name: str, value: object) -> Callable[[], None]:
    """Set an attribute of a class or module; returns the function that puts the old one back."""
    original = vars(owner)[name]
    setattr(owner, name, value)
    return lambda: setattr(owner, name, original)
