"""Normalisation inside of a file."""

import onnx
import pytest
import torch
from deploy_models import TinyDetector, quantized_detector, sample_inputs
from torch import nn

from mmptq.deploy import (
    FileForm,
    RawImages,
    export_quantized,
    open_engine_file,
    replace_with_engine,
)
from mmptq.deploy.export_profile import ExportProfile
from mmptq.quantization import QuantizationError

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def preprocessor(**kwargs) -> nn.Module:
    from mmdet.models import DetDataPreprocessor

    settings = dict(mean=MEAN, std=STD, bgr_to_rgb=True, pad_size_divisor=32)
    return DetDataPreprocessor(**{**settings, **kwargs})


def detector_with(module: nn.Module) -> nn.Module:
    detector = TinyDetector().eval()
    detector.data_preprocessor = module
    return detector


@pytest.mark.parametrize('dtype', ['uint8', 'float32'])
@pytest.mark.parametrize('reverse', [True, False])
def test_what_the_preprocessor_does(dtype, reverse):
    module = preprocessor(bgr_to_rgb=reverse)
    raw = RawImages.of(detector_with(module), dtype)
    assert raw.reverse == reverse
    assert raw.mean == pytest.approx(MEAN)
    image = torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)
    x = module(dict(inputs=[image], data_samples=None), False)['inputs']
    back = raw.denormalize(x)
    assert back.dtype == getattr(torch, dtype)
    assert torch.equal(back[0], image.to(back.dtype))
    assert torch.equal(raw.normalize(back), x)


def test_padding_is_the_mean_in_the_order_of_the_image():
    raw = RawImages.of(detector_with(preprocessor()), 'float32')
    assert raw.pad_pixel() == pytest.approx(MEAN[::-1])
    assert RawImages(MEAN, STD, True, 0.0).pad_pixel() == [104, 116, 124]
    assert RawImages([0.0], [1.0], False, 114.0).pad_pixel() == [114] * 3
    image = torch.full((1, 3, 1, 2), 7.0)
    image[..., 1] = float('nan')
    filled = RawImages(MEAN, STD, True, 0.0).fill_padding(image)
    assert filled.dtype == torch.uint8
    assert filled[0, :, 0].tolist() == [[7, 104], [7, 116], [7, 124]]


def test_a_preprocessor_without_normalization():
    raw = RawImages.of(detector_with(preprocessor(mean=None, std=None, bgr_to_rgb=False)))
    assert (raw.mean, raw.std, raw.reverse) == ([0.0], [1.0], False)


def test_others_are_refused():
    class Own(type(preprocessor())):
        def forward(self, data, training=False):
            return dict(inputs=super().forward(data, training)['inputs'] * 2)

    with pytest.raises(QuantizationError, match="'Own' does more than mean, std"):
        RawImages.of(detector_with(Own(mean=MEAN, std=STD)))
    detector = detector_with(preprocessor())
    detector.voxel_encoder = nn.Linear(1, 1)
    with pytest.raises(QuantizationError, match='takes points, and its file takes a BEV map'):
        RawImages.of(detector)
    with pytest.raises(QuantizationError, match="'Linear' does not take an image"):
        RawImages.of(detector_with(nn.Linear(1, 1)))


@pytest.mark.parametrize(('dtype', 'backend'), [('uint8', 'openvino'), ('float32', 'onnxruntime')])
@torch.no_grad()
def test_a_file_takes_raw_images(tmp_path, dtype, backend):
    detector = quantized_detector(backend)
    detector.data_preprocessor = preprocessor()
    raw, path = RawImages.of(detector, dtype), tmp_path / 'a.onnx'
    profile = ExportProfile(**_profile(backend))
    rows = export_quantized(detector, profile, sample_inputs(), path, {}, FileForm(raw=raw))
    assert min(row['engine against file (dB)'] for row in rows) > 30
    kind = onnx.load(path).graph.input[0].type.tensor_type.elem_type
    assert kind == (onnx.TensorProto.UINT8 if dtype == 'uint8' else onnx.TensorProto.FLOAT)
    engine = open_engine_file(path)
    assert engine.metadata['raw_images']['dtype'] == dtype
    # In the detector nothing is normalised twice, and padding stands for the mean.
    deployed = detector_with(preprocessor())
    replace_with_engine(deployed, engine)
    image = torch.randint(0, 256, (3, 30, 48), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=None)
    x = detector.data_preprocessor(dict(data), False)['inputs']
    found = deployed(deployed.data_preprocessor(dict(data), False)['inputs'])
    expected = detector(x)
    assert (found - expected).square().mean() < 0.02 * expected.square().mean()


def _profile(backend: str) -> dict:
    from deploy_models import profile_of

    return vars(profile_of(backend))
