"""DetPTQ's choice of p on tiny detectors."""

import json

import pytest
import torch
from helpers import QUANTIZER
from mmdet.testing import demo_mm_inputs
from mmengine.logging import MMLogger
from stock_models import build_stock, stock_config

from mmptq.observers import LpObserver
from mmptq.ptq import Calibrator, LpSelector, PTQContext
from mmptq.ptq.resume import ResumeStore
from mmptq.ptq.run import prepare_model
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    quantized_layers,
)

W4A4 = dict(
    weight=dict(QUANTIZER['weight'], bits=4),
    act=dict(bits=4),
    rules=[
        dict(role='last', act=None),
        dict(name='backbone.layer[234].*', weight=None, act=None),  # fewer layers, less time
    ],
)
OPTIONS = dict(exponents=[2.0, 1.0, 4.0], num_candidates=6, num_samples=3, search_samples=2)


def context(family: str, work_dir, bits=W4A4) -> PTQContext:
    """A calibrated detector and three images."""
    MMLogger.get_instance('test_lp_selector')
    cfg = stock_config(family)
    if family == 'retinanet':
        cfg.bbox_head.stacked_convs = 1
    model = build_stock(cfg, spread=2.0)
    batches = []
    for seed in range(3):
        batch = demo_mm_inputs(1, [[3, 48, 64]])
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 255, (3, 48, 64), generator=generator, dtype=torch.uint8)
        batches.append(dict(batch, inputs=[image]))
    ctx = PTQContext(model, batches, work_dir, seed=0)
    prepare_model(ctx, bits)
    Calibrator().run(ctx)
    return ctx


def scales(ctx: PTQContext) -> dict[str, torch.Tensor]:
    return {
        k: v.clone() for k, v in ctx.model.state_dict().items() if k.endswith('quantizer.scale')
    }


@pytest.fixture(scope='module')
def chosen(tmp_path_factory):
    """A RetinaNet after the fast search."""
    ctx = context('retinanet', tmp_path_factory.mktemp('fast'))
    before = scales(ctx)
    LpSelector(**OPTIONS).run(ctx)
    return ctx, before, json.loads((ctx.work_dir / 'lp_selection.json').read_text())


def test_the_naive_search_chooses_the_same(chosen, tmp_path):
    naive = context('retinanet', tmp_path)
    LpSelector(**OPTIONS, fast=False).run(naive)
    report = json.loads((tmp_path / 'lp_selection.json').read_text())
    for one, two in zip(chosen[2]['tensors'], report['tensors'], strict=True):
        assert (one['name'], one['tensor'], one['p']) == (two['name'], two['tensor'], two['p'])
        assert one['loss'] == pytest.approx(two['loss'], rel=1e-4)
        assert all(candidate['num_samples'] == 3 for candidate in two['candidates'])
    fast = scales(chosen[0])
    for name, scale in scales(naive).items():
        torch.testing.assert_close(scale, fast[name])


def test_the_report(chosen):
    ctx, before, report = chosen
    names = {plan.name for plan in ctx.plan.layers if plan.quantized}
    assert {entry['name'] for entry in report['tensors']} == names
    order = [plan.name for plan in ctx.plan.layers]
    positions = [order.index(entry['name']) for entry in report['tensors']]
    assert positions == sorted(positions)
    layers = quantized_layers(ctx.model)
    for entry in report['tensors']:
        assert [c['p'] for c in entry['candidates']] == [1.0, 2.0, 4.0]
        best = next(c for c in entry['candidates'] if c['p'] == entry['p'])
        assert entry['loss'] == best['loss']
        tried = [c for c in entry['candidates'] if c['num_samples'] == best['num_samples']]
        assert 0.995 * best['loss'] <= min(c['loss'] for c in tried)
        quantizer = getattr(layers[entry['name']], f'{entry["tensor"]}_quantizer')
        torch.testing.assert_close(quantizer.scale, torch.tensor(entry['scale']))
        assert quantizer.enabled
    weights = {e['name']: e['p'] for e in report['tensors'] if e['tensor'] == 'weight'}
    assert {name: unit.p for name, unit in ctx.layers.items()} == weights
    assert not any(e['tensor'] == 'input' for e in report['tensors'] if 'retina_' in e['name'])
    assert not all(torch.equal(scale, before[name]) for name, scale in scales(ctx).items())
    assert not (ctx.work_dir / 'cache').exists()


def test_a_run_that_was_interrupted(chosen, tmp_path):
    class Interrupted(Exception):
        pass

    class Store(ResumeStore):
        left = 5

        def save(self, name, state):
            super().save(name, state)
            self.left -= 1
            if self.left == 0:
                raise Interrupted

    ctx = context('retinanet', tmp_path)
    ctx.resume = Store(tmp_path / 'resume', {}, resume=False)
    with pytest.raises(Interrupted):
        LpSelector(**OPTIONS).run(ctx)
    again = context('retinanet', tmp_path)
    again.resume = ResumeStore(tmp_path / 'resume', {}, resume=True)
    LpSelector(**OPTIONS).run(again)
    expected = scales(chosen[0])
    assert all(torch.equal(scale, expected[name]) for name, scale in scales(again).items())
    report = json.loads((tmp_path / 'lp_selection.json').read_text())
    assert report['tensors'] == chosen[2]['tensors']
    assert {n: u.p for n, u in again.layers.items()} == {
        n: u.p for n, u in chosen[0].layers.items()
    }


def test_takes_over_the_choice_of_an_earlier_run(tmp_path, chosen):
    ctx = context('retinanet', tmp_path)
    source = chosen[0].work_dir / 'lp_selection.json'
    LpSelector(selection=str(source)).run(ctx)
    expected = scales(chosen[0])
    assert all(torch.equal(scale, expected[name]) for name, scale in scales(ctx).items())
    assert {n: u.p for n, u in ctx.layers.items()} == {n: u.p for n, u in chosen[0].layers.items()}
    assert json.loads((tmp_path / 'lp_selection.json').read_text()) == chosen[2]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', r"selection '.*a\.json' cannot be read \(JSONDecodeError"),
        ('{"tensors": [{"name": "x"}]}', r"cannot be read \(KeyError: 'tensor'\): name the lp_sel"),
        (
            '{"tensors": [{"name": "x", "tensor": "weight", "p": 2, "scale": [1], '
            '"zero_point": [0]}]}',
            "does not fit the weight of 'x': use one of the same model and scheme",
        ),
    ],
)
def test_bad_selection(tmp_path, content, message):
    ctx = context('retinanet', tmp_path)
    before = scales(ctx)
    (tmp_path / 'a.json').write_text(content)
    with pytest.raises(QuantizationError, match=message):
        LpSelector(selection=str(tmp_path / 'a.json')).run(ctx)
    assert all(torch.equal(scale, before[name]) for name, scale in scales(ctx).items())


def test_two_stages_and_the_error_of_weights(tmp_path):
    ctx = context('faster_rcnn', tmp_path)
    loss = dict(type='DetectionOutputLoss', score_thr=0.01)
    options = dict(OPTIONS, exponents=[2.0, 4.0], num_samples=1)
    LpSelector(loss=loss, weight_metric='weight', **options).run(ctx)
    report = json.loads((tmp_path / 'lp_selection.json').read_text())
    assert {e['name'] for e in report['tensors']} == {
        p.name for p in ctx.plan.layers if p.quantized
    }
    layers = quantized_layers(ctx.model)
    chosen = set()
    for entry in (e for e in report['tensors'] if e['tensor'] == 'weight'):
        # Of the two candidates the one with the smaller loss, p = 2 where they are about equal.
        first, second = (c['loss'] for c in entry['candidates'])
        assert entry['p'] == (4.0 if second < first * (1 - 0.005) else 2.0)
        # Its scales minimise the error of the weight itself.
        quantizer = layers[entry['name']].weight_quantizer
        observer = LpObserver(quantizer.scheme, p=entry['p'])
        observer.update(layers[entry['name']].weight)
        torch.testing.assert_close(quantizer.scale, observer.qparams()[0])
        chosen.add(entry['p'])
    assert chosen == {2.0, 4.0}
    losses = [e['loss'] for e in report['tensors'] if 'rpn' in e['name'] or 'roi' in e['name']]
    assert losses and all(loss > 0 for loss in losses)  # both stages have a part in the loss


def test_no_foreground(tmp_path):
    ctx = context('retinanet', tmp_path)
    selector = LpSelector(loss=dict(type='DetectionOutputLoss', score_thr=0.999999))
    with pytest.raises(QuantizationError, match='no target in 3 of 3 calibration samples'):
        selector.run(ctx)
    quantizers = [m for m in ctx.model.modules() if isinstance(m, FakeQuantizer)]
    assert all(quantizer.enabled for quantizer in quantizers)


@pytest.mark.parametrize(
    'options',
    [dict(exponents=[]), dict(exponents=[0.0]), dict(weight_metric='x'), dict(num_samples=0)],
)
def test_bad_options(options):
    with pytest.raises(QuantizationError, match='LpSelector got'):
        LpSelector(**options)
