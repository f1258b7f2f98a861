"""How the processes of a run find each other, and what they say where they cannot."""

import os

import pytest

from mmptq.ptq.launch import _read_environment, connected
from mmptq.quantization import QuantizationError

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@pytest.fixture
def env(monkeypatch):
    """An environment without any launcher; what the code sets is undone."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    for name in list(os.environ):
        if name in NAMES or name.startswith(('SLURM_', 'OMPI_', 'TORCHELASTIC_')):
            del os.environ[name]
    return os.environ


def test_slurm(env):
    env.update(SLURM_PROCID='3', SLURM_NTASKS='8', SLURM_LOCALID='1', MASTER_ADDR='node0')
    _read_environment('slurm')
    assert [env[name] for name in NAMES] == ['3', '8', '1', 'node0', '29500']


def test_mpi(env):
    for name, value in dict(RANK='1', SIZE='2', LOCAL_RANK='0').items():
        env[f'OMPI_COMM_WORLD_{name}'] = value
    env.update(MASTER_ADDR='node0', MASTER_PORT='1234')
    _read_environment('mpi')
    assert [env[name] for name in NAMES] == ['1', '2', '0', 'node0', '1234']


@pytest.mark.parametrize(
    'launcher, name', [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD')]
)
def test_a_launcher_that_did_not_start_this(env, launcher, name):
    with (
        pytest.raises(QuantizationError, match=f'--launcher {launcher} finds no .{name}'),
        connected(dict(launcher=launcher)),
    ):
        pass


def test_torchrun_without_the_option(env):
    env.update(TORCHELASTIC_RUN_ID='none', WORLD_SIZE='2')
    with pytest.raises(QuantizationError, match='add --launcher pytorch'), connected({}):
        pass


def test_one_process_is_left_alone(env):
    with connected(dict(launcher='none')):
        pass
