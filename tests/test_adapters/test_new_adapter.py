"""A new family is one registered class: the example of the documentation."""

import pytest
import torch
from adapter_checks import check_decode, check_parts
from doc_examples import python_example, run_example
from mmengine.hub import get_config
from mmengine.registry import TASK_UTILS
from stock_models import build_stock, image_batch

from mmptq.adapters import build_adapter
from mmptq.losses import DetectionOutputLoss, GlobalPositiveLoss
from mmptq.quantization import QuantizationError

PAGE = 'docs/development/add_adapter.md'


@pytest.fixture(scope='module')
def case():
    cfg = get_config('mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py').model
    cfg.backbone.update(base_channels=8, init_cfg=None)
    cfg.neck.update(in_channels=64, num_deconv_filters=(16, 16, 16))
    cfg.bbox_head.update(num_classes=3, in_channels=16, feat_channels=8)
    model = build_stock(cfg, spread=1.0)
    torch.nn.init.constant_(model.bbox_head.wh_head[-1].bias, 5.0)  # cells; sizes are positive
    data = image_batch(model, num_images=2)
    for sample in data['data_samples']:
        sample.set_metainfo(dict(border=[0, 64, 0, 96]))
    return model, data


@pytest.fixture(scope='module')
def adapter(case):
    known = set(TASK_UTILS.module_dict)
    with pytest.raises(QuantizationError, match='no adapter for CenterNet with CenterNetHead'):
        build_adapter(case[0])
    cls = run_example(PAGE)['CenterNetHeadAdapter']
    adapter = build_adapter(case[0])
    assert type(adapter) is cls
    yield adapter
    for name in set(TASK_UTILS.module_dict) - known:
        TASK_UTILS.module_dict.pop(name)


def test_the_example_is_short():
    assert len(python_example(PAGE).splitlines()) < 40


def test_shared_methods_follow(case, adapter):
    model, data = case
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    check_parts(adapter, raw)
    assert list(adapter.parts(raw)) == ['heatmap.0', 'size.0', 'offset.0']
    check_decode(model, adapter, raw, data, head='size')


@pytest.mark.parametrize('loss', [DetectionOutputLoss(), GlobalPositiveLoss()])
def test_task_losses_work(case, adapter, loss):
    _, data = case
    with torch.no_grad():
        raw = adapter.raw_outputs(data)
    target = loss.make_target(adapter, raw, data)
    assert float(loss(adapter, raw, data, target)) == pytest.approx(0, abs=1e-5)
    # More objects everywhere, smaller boxes, other centres.
    parts = adapter.parts(raw)
    parts = {name: x.lerp(torch.ones_like(x), 0.3).requires_grad_() for name, x in parts.items()}
    value = loss(adapter, adapter.with_parts(raw, parts), data, target)
    assert float(value) > 1e-3
    value.backward()
    assert all(x.grad.abs().sum() > 0 for x in parts.values())
