"""Inliers of known gradients, and of a detector."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from reconstruction import ToyAdapter, toy_context
from torch import nn

from mmptq.losses import TopKConfidenceLoss
from mmptq.ptq import ActivationCache, InlierImportance, Reconstructor
from mmptq.ptq.teacher.gradients import Gradients, collect_gradients
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.teacher.volumes import channel_axis, rows_of, saliency
from mmptq.quantization import QuantizationError, quantizers_off
from mmptq.quantization.layers import quant_type_of
from mmptq.report import read_record


def two_groups(scale=1.0, inliers=8, seed=0):
    """Gradients (1, 2, 8, 8): small everywhere, and large in the first ``inliers`` positions."""
    generator = torch.Generator().manual_seed(seed)
    size = 0.01 * (1 + 0.2 * torch.rand(64, generator=generator))
    size[:inliers] *= 100
    size = size.view(1, 1, 8, 8) * scale
    return torch.cat((0.25 * size, -0.75 * size), 1)


def fitted(tmp_path, *samples, name='layer', side='output', **options):
    """An importance fitted to one call per sample."""
    gradients = Gradients(2**20, tmp_path)
    for index, x in enumerate(samples):
        gradients.append(name, index, [[x]], side)
    importance = InlierImportance(**options)
    importance.fit(gradients)
    return importance


def test_volumes_of_maps_and_rows():
    x = torch.arange(24.0).view(1, 2, 3, 4) - 12
    assert channel_axis(x) == 1
    assert saliency(x).shape == (1, 1, 3, 4)
    assert saliency(x)[0, 0, 1, 2] == 6 + 6  # |-6| + |6|
    assert rows_of(x).shape == (12, 2) and rows_of(x)[6].tolist() == [-6, 6]
    tokens = torch.rand(2, 5, 3)
    assert saliency(tokens).shape == (2, 5, 1) and rows_of(tokens).shape == (10, 3)
    assert torch.equal(rows_of(tokens)[7], tokens[1, 2])


@pytest.mark.parametrize('quantized', [False, True])
def test_the_layer_says_where_its_channels_are(quantized):
    maps, sequence = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4)
    linear, conv = nn.Linear(5, 5), nn.Conv2d(3, 3, 1)
    for layer in (linear, conv) if quantized else ():
        layer.__class__ = quant_type_of(type(layer))
    assert channel_axis(maps, linear) == 3 and channel_axis(maps, conv) == 1
    assert channel_axis(sequence, nn.Conv1d(3, 3, 1)) == 1
    assert channel_axis(sequence, conv) == 0  # (C, H, W), without a batch
    assert channel_axis(sequence, linear) == 2 and channel_axis(torch.rand(7, 5), linear) == 1
    # A block with a convolution may move the axes, so the number of axes decides.
    assert channel_axis(maps, nn.Sequential(linear, nn.ReLU(), linear)) == 3
    assert channel_axis(maps, nn.Sequential(conv, linear)) == 1
    assert channel_axis(sequence, nn.Sequential(conv)) == 2
    assert channel_axis(maps, nn.ReLU()) == 1
    assert channel_axis(maps, nn.Sequential(linear, nn.ModuleList())) == 3  # an empty list
    assert saliency(maps, linear).shape == (2, 3, 4, 1)
    assert torch.equal(rows_of(maps, linear)[6], maps[0, 1, 2])


def test_positions_of_a_linear_layer_with_channels_last(tmp_path):
    gradient = two_groups().movedim(1, -1)  # (1, 8, 8, 2)
    gradients = Gradients(2**20, tmp_path)
    gradients.owners['fc'] = nn.Linear(2, 2)
    gradients.append('fc', 0, [[gradient]])
    importance = InlierImportance(curvature=None)
    importance.fit(gradients)
    expected = torch.zeros(64)
    expected[:8] = 8  # 64 positions, 8 inliers
    (weight,), (posterior,) = (f('fc', 0, 0) for f in (importance.weights, importance.posterior))
    torch.testing.assert_close(weight, expected.view(1, 8, 8, 1))
    assert posterior.shape == (1, 8, 8, 1) and posterior.flatten()[:8].min() > 0.99


def test_only_inliers_count_and_the_mean_weight_is_one(tmp_path):
    importance = fitted(tmp_path, two_groups(), curvature=None)
    (weight,) = importance.weights('layer', 0, 0)
    expected = torch.zeros(64)
    expected[:8] = 8  # 64 positions, 8 inliers
    torch.testing.assert_close(weight, expected.view(1, 1, 8, 8))
    (row,) = importance.report()
    assert row['inliers'] == 8 / 64 and row['pooled_samples'] == 0 and row['note'] == ''
    assert row['layer'] == 'layer' and row['side'] == 'output' and row['iterations'] >= 1


@pytest.mark.parametrize(
    ('options', 'inlier', 'anomaly'),
    [
        (dict(anomaly_weight=0.5), 1, 0.5),
        (dict(inlier_weight=0.0, anomaly_weight=1.0), 0, 1),
        (dict(anomaly_weight=1.0), 1, 1),
    ],
)
def test_weights_of_both_sets(tmp_path, options, inlier, anomaly):
    importance = fitted(tmp_path, two_groups(), curvature=None, **options)
    (weight,) = importance.weights('layer', 0, 0)
    mean = (8 * inlier + 56 * anomaly) / 64
    assert weight.flatten()[0].item() == pytest.approx(inlier / mean)
    assert weight.flatten()[-1].item() == pytest.approx(anomaly / mean)


def test_soft_weights_are_the_posterior(tmp_path):
    importance = fitted(tmp_path, two_groups(), curvature=None, soft=True, anomaly_weight=0.2)
    (weight,), (posterior,) = (
        importance.weights('layer', 0, 0),
        importance.posterior('layer', 0, 0),
    )
    expected = 0.2 + 0.8 * posterior
    torch.testing.assert_close(weight, (expected / expected.mean()).float())


def test_curvature_is_the_tempered_square_of_the_gradient(tmp_path):
    x = two_groups()
    plain = fitted(tmp_path, x, curvature=None).weights('layer', 0, 0)[0]
    mean = x.square().mean(1).flatten()[:8].mean()
    for curvature, power, floor in [('diagonal', 0.5, 1), (dict(power=1, floor=0.0), 1, 0)]:
        importance = fitted(tmp_path, x, curvature=curvature)
        (weight,) = importance.weights('layer', 0, 0)
        expected = plain * ((x.square() / mean) ** power + floor) / (1 + floor)
        torch.testing.assert_close(weight, expected)
    # With power=1 and no floor the mean weight of the values is still one.
    assert weight.mean().item() == pytest.approx(1, rel=1e-5)
    assert (fitted(tmp_path, x, curvature='rank_one', side='input')).projects


def test_rank_one_gives_no_weights_of_outputs(tmp_path):
    with pytest.raises(QuantizationError, match="use curvature='diagonal' or None"):
        fitted(tmp_path, two_groups(), curvature='rank_one')
    importance = fitted(tmp_path, two_groups(), curvature='rank_one', side='input')
    assert importance.weights('layer', 0, 0, 'input')[0].shape == (1, 1, 8, 8)


def test_zeros_are_anomalies_apart_from_em(tmp_path):
    x = two_groups()
    mask = torch.ones(64)
    mask[20:60] = 0
    importance = fitted(tmp_path, x * mask.view(1, 1, 8, 8), curvature=None)
    weight = importance.weights('layer', 0, 0)[0].flatten()
    assert weight[:8].tolist() == [8] * 8 and not weight[8:].any()


def test_a_sample_without_a_split_takes_the_gaussians_of_all(tmp_path):
    flat = torch.full((1, 2, 8, 8), 0.005)
    importance = fitted(tmp_path, two_groups(), flat, two_groups(seed=1), curvature=None)
    assert not importance.weights('layer', 1, 0)[0].any()
    assert importance.report()[0]['pooled_samples'] == 1
    assert importance.report()[0]['inliers'] == 16 / 192
    assert importance.mixture('layer', 0).means[0, 1] != importance.mixture('layer', 1).means[0, 1]


def test_one_scope_for_all_samples(tmp_path):
    # The second sample has scores a tenth as large: its inliers are no inliers of both.
    samples = two_groups(), two_groups(scale=0.01)
    by_sample = fitted(tmp_path, *samples, curvature=None)
    pooled = fitted(tmp_path, *samples, curvature=None, em_scope='layer')
    assert by_sample.report()[0]['inliers'] == 16 / 128
    assert pooled.report()[0]['pooled_samples'] == 2
    assert pooled.mixture('layer', 0) is pooled.mixture('layer', 1)
    assert pooled.weights('layer', 1, 0)[0].sum() != by_sample.weights('layer', 1, 0)[0].sum()


def test_raw_scores(tmp_path):
    importance = fitted(tmp_path, two_groups(), curvature=None, log_scale=False)
    assert importance.report()[0]['inliers'] == 8 / 64
    assert importance.mixture('layer', 0).means[0, 0].item() == pytest.approx(0.011, rel=0.05)


def test_calls_of_a_layer_have_one_mixture(tmp_path):
    gradients = Gradients(2**20, tmp_path)
    gradients.append('head', 0, [[two_groups()], [two_groups(inliers=0)]])
    importance = InlierImportance(curvature=None)
    importance.fit(gradients)
    assert importance.report()[0]['inliers'] == 8 / 128
    assert importance.weights('head', 0, 0)[0].flatten()[0] == 16
    assert not importance.weights('head', 0, 1)[0].any()


def test_layers_that_count_everywhere(tmp_path, caplog):
    logger = MMLogger.get_instance('test_inliers')
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    gradients = Gradients(2**20, tmp_path)
    broken = two_groups()
    broken[0, 0, 0, 0] = torch.inf
    cases = dict(vanished=torch.zeros(1, 2, 8, 8), boxes=None, broken=broken)
    cases['flat'] = torch.full((1, 2, 8, 8), 0.5)
    cases['good'] = two_groups()
    for name, x in cases.items():
        gradients.append(name, 0, [[x]])
    importance = InlierImportance()
    importance.fit(gradients)
    for name in ('vanished', 'boxes', 'broken', 'flat'):
        assert importance.weights(name, 0, 0) == [1.0]
        with pytest.raises(KeyError):
            importance.posterior(name, 0, 0)
    notes = {row['layer']: row['note'] for row in importance.report()}
    assert notes == dict(
        boxes='counts everywhere: the loss does not depend on it',
        vanished='counts everywhere: its gradients are all zero',
        broken='counts everywhere: its gradients are not finite',
        flat='counts everywhere: its scores do not split',
        good='',
    )
    text = {record.levelname: record.getMessage() for record in caplog.records}
    assert 'the loss does not depend on it: boxes' in text['INFO']
    warnings = [r.getMessage() for r in caplog.records if r.levelname == 'WARNING']
    assert any('not finite: broken' in warning for warning in warnings)
    assert any('all zero: vanished' in warning for warning in warnings)


def test_odd_shares_are_named(tmp_path, caplog):
    logger = MMLogger.get_instance('test_inliers')
    logger.addHandler(caplog.handler)
    fitted(tmp_path, two_groups(inliers=45), name='wide')
    assert "'wide' (70.3%)" in caplog.text
    caplog.clear()
    fitted(tmp_path, two_groups(inliers=8))
    assert '%' not in caplog.text


@pytest.mark.parametrize(
    'options',
    [dict(em_scope='image'), dict(curvature='full'), dict(curvature=dict(root=2)), dict(tau=1.0)]
    + [dict(inlier_weight=0.0), dict(anomaly_weight=-1.0), dict(curvature=dict(power=0))],
)
def test_bad_options(options):
    with pytest.raises(QuantizationError, match='InlierImportance got'):
        InlierImportance(**options)


def test_on_a_detector(tmp_path):
    ctx = toy_context(tmp_path)
    samples = ActivationCache(2**20, tmp_path)
    for data in ctx.loader:
        samples.append(data, exact=True)
    loss = TopKConfidenceLoss(k=2)
    teacher = TeacherOutputs(ctx.model, ToyAdapter(ctx.model), loss, samples, 2**20)
    names = ('blocks.0', 'bbox_head.boxes')
    gradients = Gradients(2**20, tmp_path)
    with quantizers_off(ctx.model):
        modules = {name: ctx.model.get_submodule(name) for name in names}
        collect_gradients(teacher, modules, gradients)
    importance = InlierImportance(curvature=None)
    importance.fit(gradients)
    rows = {row['layer']: row for row in importance.report()}
    assert 0 < rows['blocks.0']['inliers'] < 1
    assert rows['bbox_head.boxes']['note'] == 'counts everywhere: the loss does not depend on it'
    gradient = gradients.of('blocks.0', 3, 0)[0]
    (weight,) = importance.weights('blocks.0', 3, 0)
    chosen = weight > 0
    scores = gradient.abs().sum(1, keepdim=True)
    assert scores[chosen].min() > scores[~chosen].max()


def test_in_reconstruction(tmp_path):
    ctx = toy_context(tmp_path)
    importance = dict(type='InlierImportance', loss=dict(type='TopKConfidenceLoss', k=2))
    Reconstructor(importance=importance, num_iters=5, batch_size=2).run(ctx)
    rows = read_record(tmp_path, 'importance')
    assert {row['side'] for row in rows} == {'output'}
    units = {row['unit'] for row in read_record(tmp_path, 'reconstruction')}
    assert {row['layer'] for row in rows} == units
