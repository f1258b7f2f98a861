"""New images for every learning step."""

import pytest
import torch
from mmengine.structures import BaseDataElement

from mmptq.ptq.variants.fresh_images import FreshImages, Variation
from mmptq.quantization import QuantizationError

NOTHING = dict.fromkeys(Variation.__dataclass_fields__, 0.0)


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    return [
        dict(
            inputs=torch.rand(1, 3, 8, 12, generator=generator),
            data_samples=[BaseDataElement(metainfo=dict(index=index), gt_lanes=torch.ones(2))],
        )
        for index in range(3)
    ]


def fresh(samples, seed=0, **changes):
    return FreshImages(samples, Variation(**NOTHING | changes), seed)


def test_without_changes_the_images_are_those_of_the_samples(samples):
    data = fresh(samples).batch([2, 0], 5)
    expected = torch.cat([samples[2]['inputs'], samples[0]['inputs']])
    torch.testing.assert_close(data['inputs'], expected, atol=1e-5, rtol=0)
    assert [x.index for x in data['data_samples']] == [2, 0]


def test_labels_are_left_out_and_samples_stay(samples):
    before = samples[1]['inputs'].clone()
    data = FreshImages(samples, Variation(), 0).batch([1], 0)
    assert 'gt_lanes' not in data['data_samples'][0]
    assert 'gt_lanes' in samples[1]['data_samples'][0]
    assert torch.equal(samples[1]['inputs'], before)


def test_images_depend_on_seed_and_step_alone(samples):
    images = FreshImages(samples, Variation(), 3)
    first, other = images.batch([0, 1], 7)['inputs'], images.batch([0, 1], 8)['inputs']
    again = FreshImages(samples, Variation(), 3).batch([0, 1], 7)['inputs']
    seed = FreshImages(samples, Variation(), 4).batch([0, 1], 7)['inputs']
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first, seed)
    assert first.isfinite().all() and first.shape == (2, 3, 8, 12)


def test_all_are_mirrored(samples):
    data = fresh(samples, mirror=1.0).batch([0], 0)
    torch.testing.assert_close(data['inputs'], samples[0]['inputs'].flip(-1), atol=1e-5, rtol=0)


def test_a_second_image_is_laid_over(samples):
    for step in range(8):
        mixed = fresh(samples, mix=1.0).batch([0], step)['inputs']
        flat = torch.stack([data['inputs'].flatten() for data in samples])
        own = torch.linalg.lstsq(flat.T, mixed.flatten()[:, None]).solution[:, 0]
        torch.testing.assert_close(own.sum(), torch.tensor(1.0), atol=1e-4, rtol=0)
        assert (own > -1e-4).all() and (own[1:].abs() > 1e-4).sum() < 2


def test_the_right_part_comes_from_a_second_image(samples):
    seen = set()
    for step in range(8):
        pasted = fresh(samples, paste=1.0).batch([0], step)['inputs'][0]
        of = [torch.isclose(pasted, data['inputs'][0], atol=1e-5).all((0, 1)) for data in samples]
        assert of[0][:4].all() and torch.stack(of).any(0).all()
        seen.update(index for index in range(3) if of[index][-1])
    assert seen > {0}


def test_light_changes_within_its_bounds(samples):
    x, data = samples[0]['inputs'], fresh(samples, contrast=0.5, brightness=0.5)
    for step in range(4):
        y = data.batch([0], step)['inputs']
        assert 1 / 1.5 - 1e-3 <= y.std() / x.std() <= 1.5 + 1e-3
        assert (y.mean() - x.mean()).abs() <= 0.5 * x.std() + 1e-3


def test_bad_settings():
    with pytest.raises(QuantizationError, match='mix=1.5 is not possible'):
        Variation(mix=1.5)
    with pytest.raises(QuantizationError, match='zoom=-1'):
        Variation(zoom=-1)


def test_other_inputs_are_refused(samples):
    with pytest.raises(QuantizationError, match='images alone'):
        fresh([dict(inputs=torch.zeros(4, 5), data_samples=[])]).batch([0], 0)
    samples[1]['inputs'] = torch.zeros(1, 3, 8, 14)
    with pytest.raises(QuantizationError, match='images of one size'):
        fresh(samples).batch([0, 1], 0)
