import pytest
import torch

from mmptq.utils.precision import full_precision


def settings():
    backends = torch.backends
    owners = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn
    return [owner.fp32_precision for owner in owners]


@pytest.fixture(autouse=True)
def put_back():
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True


@pytest.mark.parametrize('matmul', [True, False])
@pytest.mark.parametrize('cudnn', [True, False])
def test_off_inside_and_as_before_outside(matmul, cudnn):
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
    before = settings()
    with full_precision():
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32 is matmul
    assert torch.backends.cudnn.allow_tf32 is cudnn
    assert settings() == before


def test_settings_of_the_newer_kind():
    torch.backends.cuda.matmul.fp32_precision = 'tf32'
    torch.backends.cudnn.conv.fp32_precision = 'ieee'
    torch.backends.cudnn.rnn.fp32_precision = 'tf32'
    with full_precision():
        assert 'tf32' not in settings()
    assert settings() == ['tf32', 'ieee', 'tf32']


def test_put_back_after_an_error():
    torch.backends.cuda.matmul.allow_tf32 = True
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert torch.backends.cuda.matmul.allow_tf32
