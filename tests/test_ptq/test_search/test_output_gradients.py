"""First-order changes of a detector's outputs against those that forwards measure."""

import torch
from helpers import QUANTIZER
from mmdet.testing import demo_mm_inputs
from stock_models import build_stock, stock_config

from mmptq.observers import LpObserver
from mmptq.ptq import PTQContext
from mmptq.ptq.run import prepare_model
from mmptq.ptq.search.output_gradients import OutputGradients
from mmptq.ptq.search.output_loss import OutputLoss
from mmptq.quantization import QScheme, fake_quantize, quantizers_off

W6 = QScheme(6, channel_axis=0)


@torch.no_grad()
def test_a_detector(tmp_path):
    cfg = stock_config('retinanet')
    cfg.bbox_head.stacked_convs = 1
    model = build_stock(cfg, spread=2.0)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 255, (3, 48, 64), generator=generator, dtype=torch.uint8)
    batch = dict(demo_mm_inputs(1, [[3, 48, 64]]), inputs=[image])
    ctx = PTQContext(model, [batch], tmp_path, seed=0)
    prepare_model(ctx, dict(QUANTIZER, act=None))
    names = ['backbone.conv1', 'backbone.layer2.0.conv1', 'bbox_head.retina_cls']
    qparams, measured = {}, {}
    with quantizers_off(model), OutputLoss(ctx, 1) as loss:
        for name in names:
            weight = ctx.layers[name].module.weight
            observer = LpObserver(W6)
            observer.update(weight)
            qparams[name] = observer.qparams()
            before = weight.clone()
            weight.copy_(fake_quantize(weight, *qparams[name], W6))
            measured[name] = float(loss().mean())
            weight.copy_(before)
        wanted = [parameter.requires_grad for parameter in model.parameters()]
        grids = {name: [('weight', W6, *qparams[name])] for name in names}
        found = OutputGradients(ctx, 1, num_probes=12).squared_changes(grids)
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    for name in names:
        assert 0.2 < found[name][0] / measured[name] < 5, (name, found[name], measured[name])
