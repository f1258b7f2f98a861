"""How a calibration batch enters a model: through OpenMMLab's preprocessor, or as it is."""

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.images import unshared_images
from mmptq.utils.messages import first_line
from mmptq.utils.trees import map_tensors, tensors_in

WITHOUT_IT = ', or calibrate on a folder without it with --calibration-data FOLDER'


def is_detector(model: nn.Module) -> bool:
    """Whether the model takes OpenMMLab's batches: dicts with inputs and data_samples."""
    return hasattr(model, 'data_preprocessor')


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters of a model are; a model without any is on the CPU.

    Raises:
        QuantizationError: If they are on several devices, or on one that cannot compute.
    """
    first: dict[torch.device, str] = {}
    for name, parameter in model.named_parameters():
        first.setdefault(parameter.device, name)
    if len(first) > 1:
        places = [f"'{name}' is on {device}" for device, name in first.items()]
        raise QuantizationError(
            f'the model is on several devices ({", ".join(places)}): move it to one with '
            f"model.to('{next(iter(first))}')"
        )
    device = next(iter(first), torch.device('cpu'))
    if device.type == 'meta':
        raise QuantizationError(
            "the model has no weights (its parameters are on the device 'meta'): load a "
            'checkpoint first'
        )
    if device.type == 'mps':
        raise QuantizationError(
            "the device 'mps' is not supported, because it lacks float64: move the model with "
            "model.to('cpu')"
        )
    return device


def prepare_batch(model: nn.Module, batch: Any) -> Any:
    """A batch as the forward of the model takes it, on the device of the model.

    Raises:
        QuantizationError: If an input is empty or not finite, or the model takes other batches.
    """
    if is_detector(model):
        data = _preprocessed(model, batch)
        name = f'calibration sample {sample_name(data)}'
        inputs = data['inputs'] if isinstance(data, Mapping) else data
        check_finite(inputs, name, 'the train split', WITHOUT_IT)
        return data
    device = device_of(model)
    if isinstance(batch, Mapping):
        batch = dict(batch)  # a class of its own, such as UserDict, has tensors in it, too
    return map_tensors(lambda x: x.to(device), batch)


def _preprocessed(model: nn.Module, batch: Any) -> Any:
    if isinstance(model, BaseDetector):
        batch = with_data_samples(batch)
    try:
        data = model.data_preprocessor(batch, False)
        if isinstance(data, Mapping):
            data['inputs']  # noqa: B018
        return data
    except (torch.OutOfMemoryError, QuantizationError):
        raise
    except Exception as error:  # of any preprocessor, on what any dataset returned
        raise QuantizationError(
            f'calibration sample {sample_name(batch)} is not what the model takes '
            f'({first_line(error)}): let the dataset of train_dataloader, or its pipeline, return '
            "dict(inputs=..., data_samples=...), with inputs as the model's data_preprocessor "
            'takes them'
        ) from error


def with_data_samples(batch: Any) -> Any:
    """A batch of images with a data sample for each, where its dataset gave none.

    A detector writes its predictions into data samples, and reads the sizes of the images there.
    """
    if not isinstance(batch, Mapping) or not _are_missing(batch.get('data_samples')):
        return batch
    inputs = batch.get('inputs')
    images = list(inputs) if isinstance(inputs, (Tensor, list, tuple)) else []
    if not images or not all(isinstance(x, Tensor) and x.dim() == 3 for x in images):
        return batch
    samples = []
    for index, image in enumerate(images):
        size = tuple(image.shape[-2:])
        meta = dict(img_id=index, img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo=meta))
    return {**batch, 'data_samples': samples}


def _are_missing(samples: Any) -> bool:
    return samples is None or (isinstance(samples, list) and all(x is None for x in samples))


def run_model(model: nn.Module, data: Any) -> Any:
    """Run a model on what ``prepare_batch`` returned.

    A detector predicts. Any other module gets a tensor as its only argument, a tuple or list as
    positional arguments, and a dict as keyword arguments.
    """
    if is_detector(model):
        if not isinstance(data, Mapping):
            return model(*data, mode='predict')
        return model(**unshared_images(data), mode='predict')
    if isinstance(data, Tensor):
        return model(data)
    return model(**data) if isinstance(data, Mapping) else model(*data)


def check_finite(inputs: Any, name: str, where: str, hint: str = '') -> None:
    """Raise where a tensor is empty or not finite.

    Args:
        inputs (Any): Nested tensors.
        name (str): What they are, as the subject of the message.
        where (str): What to remove it from.
        hint (str): What else can be done. Defaults to ''.
    """
    for x in tensors_in(inputs):
        if x.numel() == 0:
            raise QuantizationError(f'{name} is empty: remove it from {where}{hint}')
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise QuantizationError(
                f'{name} contains NaN or Inf: repair it or remove it from {where}{hint}'
            )


def sample_name(data: Any) -> str:
    """File of the first sample of a batch, as its data sample knows it."""
    samples = data.get('data_samples') if isinstance(data, Mapping) else None
    samples = samples if samples and isinstance(samples, (list, tuple)) else [None]
    for key in ('lidar_path', 'img_path', 'sample_idx', 'img_id'):
        value = getattr(samples[0], key, None)
        if value is not None:
            return f"'{value}'"
    return 'without a file name'
