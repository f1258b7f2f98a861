"""What a file takes: batches and sizes."""

import pytest
import torch

from mmptq.deploy import FileForm
from mmptq.deploy.file_form import stacked
from mmptq.quantization import QuantizationError


def image(value: float, height: int = 2) -> torch.Tensor:
    return torch.full((1, 1, height, 2), value)


@pytest.mark.parametrize(
    ('form', 'open_batch', 'images'),
    [
        (FileForm(), True, 1),
        (FileForm(dynamic=False), False, 1),
        (FileForm(batch=3), False, 3),
        (FileForm(dynamic=False, batch='dynamic'), True, 1),
    ],
)
def test_batches_of_a_form(form, open_batch, images):
    assert (form.open_batch, form.images) == (open_batch, images)


@pytest.mark.parametrize('batch', [0, -1, 'many', 1.5])
def test_bad_batches(batch):
    with pytest.raises(QuantizationError, match=f'--batch {batch}: use a number ≥ 1, or'):
        FileForm(batch=batch)


def test_inputs_of_equal_size_are_stacked():
    inputs = [image(1), image(2, 3), image(3), image(4)]
    batches = stacked(inputs, 2)
    assert [x.shape[2] for x in batches] == [2, 2, 3]
    assert [x[:, 0, 0, 0].tolist() for x in batches] == [[1, 3], [4, 1], [2, 2]]


def test_a_fixed_size_takes_samples_of_that_size_only():
    inputs = [image(1), image(2, 3), image(3)]
    assert len(FileForm().batches(inputs)) == 3
    assert [x[0, 0, 0, 0].item() for x in FileForm(dynamic=False).batches(inputs)] == [1, 3]
    (batch,) = FileForm(dynamic=False, batch=2).batches(inputs)
    assert batch.shape == (2, 1, 2, 2)
