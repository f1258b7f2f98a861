"""Values of a PTQ config that have the wrong type, found before anything is built."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line

# Key to type and an example; a key that is absent or None is fine.
TYPES = {
    'quantizer': (Mapping, 'dict(weight=dict(bits=8), act=dict(bits=8))'),
    'quantizer.weight': (Mapping, 'dict(bits=8)'),
    'quantizer.act': (Mapping, 'dict(bits=8)'),
    'quantizer.products': (Mapping, 'dict(bits=8)'),
    'quantizer.rules': (Sequence, "[dict(name='neck.*', act=None)]"),
    'stages': (Sequence, "[dict(type='Calibrator')]"),
    'backend': (Mapping, 'a config of configs/_base_/backends, or --backend NAME'),
    'calibration': (Mapping, 'dict(num_samples=64)'),
    'randomness': (Mapping, 'dict(seed=0)'),
    'randomness.seed': (int, 'a whole number'),
    'load_from': (str, 'the path of a checkpoint'),
    'work_dir': (str, 'the path of a folder'),
    'train_dataloader': (Mapping, 'dict(dataset=dict(type=...))'),
    'train_cfg': (Mapping, "dict(type='PTQLoop')"),
    'train_cfg.val_float': (bool, 'True or False'),
}
REGISTRY = re.compile(r'(?P<name>\S+) is not in the (?P<registry>\S+) registry')
ARGUMENT = re.compile(r'__init__\(\) (got an unexpected keyword|missing \d+ required)')


def check_types(cfg: Any) -> None:
    """Refuse a value of the wrong type.

    Raises:
        QuantizationError: Names the key.
    """
    for key, (kind, example) in TYPES.items():
        value = cfg
        for part in key.split('.'):
            value = value.get(part) if hasattr(value, 'get') else None
        text = isinstance(value, str) and kind is Sequence
        if value is not None and (text or not isinstance(value, kind)):
            raise QuantizationError(f'{key}={value!r} cannot be used: write {example}')


def build_problem(error: BaseException) -> str | None:
    """What is wrong with a config that mmengine cannot build from, as a sentence.

    Args:
        error (BaseException): What was raised.

    Returns:
        str | None: None for an error that the config may have no part in.
    """
    text = str(error.args[0]) if error.args else ''
    match = REGISTRY.search(text) if isinstance(error, KeyError) else None
    if match is not None:
        registry = match['registry'].strip('\'"')
        return (
            f'the config names {match["name"].strip(chr(39))!r}, which is not in the registry '
            f'{registry}: check the name, and that custom_imports imports its file'
        )
    if isinstance(error, TypeError) and ARGUMENT.search(text):
        return f'a part of the config cannot be built ({first_line(error)}): check its arguments'
    return None
