"""Starting and ending together: the processes of one run, and what happens when one fails."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size

from mmptq.utils.errors import QuantizationError
from mmptq.utils.folder_lock import locked_folder
from mmptq.utils.messages import first_line

from . import parallel

FAILURE = 'mmptq/failure'  # key of the store of the group: what stopped the first process
TIMEOUT = 1800  # seconds that a process waits for another

_ending = False  # whether this process is about to stop with an error


@contextmanager
def connected(cfg: dict[str, Any]) -> Iterator[None]:
    """Within this context the processes that a launcher started are one group.

    mmengine's own start asks for a GPU; its runner finds this group and starts none.

    Args:
        cfg (dict): ``launcher`` ('none', 'pytorch', 'slurm' or 'mpi'), and in
            ``env_cfg.dist_cfg`` the ``timeout`` in seconds and the ``backend``, which only counts
            where there are GPUs.

    Raises:
        QuantizationError: If the launcher was used wrongly, or another process stopped.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        if 'TORCHELASTIC_RUN_ID' in os.environ and os.environ.get('WORLD_SIZE', '1') != '1':
            raise QuantizationError(
                'torchrun started several processes, which would all do the same work: add '
                '--launcher pytorch'
            )
        yield
        return
    _read_environment(launcher)
    _start((cfg.get('env_cfg') or {}).get('dist_cfg') or {})
    before = signal.signal(signal.SIGTERM, _terminate)
    with one_sentence():
        yield
    signal.signal(signal.SIGTERM, before)
    dist.destroy_process_group()


@contextmanager
def one_sentence() -> Iterator[None]:
    """Tell the others what stops this process; where another one stopped, say that.

    Raises:
        QuantizationError: In place of the errors that a lost connection leads to.
    """
    global _ending
    _ending = False
    try:
        yield
    except (RuntimeError, _TerminatedError) as error:
        _ending = True
        lost = isinstance(error, dist.DistError | _TerminatedError) or 'gloo' in str(error)
        if get_world_size() == 1 or not lost:
            _tell(error)
            raise
        raise QuantizationError(
            f'process {get_rank()} of {get_world_size()} stops because another one did '
            f'({_told() or _guess(error)}): mend that and start all again, with --resume to go on '
            'where they were'
        ) from error
    except BaseException as error:
        _ending = True
        _tell(error)
        raise


@contextmanager
def alone_in(work_dir: str | Path) -> Iterator[None]:
    """Within this context no other run works in a work directory.

    Raises:
        QuantizationError: In all processes, if another one does.
    """
    with ExitStack() as stack:
        parallel.on_main(lambda: stack.enter_context(locked_folder(work_dir)))
        yield


class _TerminatedError(BaseException):
    """A launcher asks this process to stop, as it does when another one failed."""


def _terminate(*_) -> None:
    # A launcher that sees another process fail must not cut the sentence of this one.
    if not _ending:
        raise _TerminatedError('it was killed, or the launcher was told to stop')


def _tell(error: BaseException) -> None:
    """Leave the reason where the other processes find it."""
    if get_world_size() > 1:
        text = str(error) if isinstance(error, QuantizationError | OSError) else first_line(error)
        with suppress(Exception):
            store = dist.distributed_c10d._get_default_store()
            if not store.check([FAILURE]):
                store.set(FAILURE, f'process {get_rank()}: {text}')


def _told() -> str:
    with suppress(Exception):  # the process that kept it may be gone, too
        store = dist.distributed_c10d._get_default_store()
        return store.get(FAILURE).decode() if store.check([FAILURE]) else ''
    return ''


def _guess(error: BaseException) -> str:
    if isinstance(error, _TerminatedError):
        return str(error)
    if 'imed out' in str(error):
        return 'no answer in time; env_cfg.dist_cfg.timeout sets the seconds'
    return 'it left no reason, as one that is killed, out of memory or without network'


def _read_environment(launcher: str) -> None:
    """Set the variables of torch's launcher from those of others, as mmengine does.

    Raises:
        QuantizationError: If the launcher did not start this process.
    """
    env, found = os.environ, {}
    try:
        if launcher == 'slurm':
            found = dict(RANK=env['SLURM_PROCID'], WORLD_SIZE=env['SLURM_NTASKS'])
            found['LOCAL_RANK'] = env['SLURM_LOCALID']
            if 'MASTER_ADDR' not in env:
                command = ['scontrol', 'show', 'hostnames', env['SLURM_NODELIST']]
                found['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]
        elif launcher == 'mpi':
            names = dict(RANK='RANK', WORLD_SIZE='SIZE', LOCAL_RANK='LOCAL_RANK')
            found = {key: env[f'OMPI_COMM_WORLD_{name}'] for key, name in names.items()}
        env.update(found)
        env.setdefault('MASTER_PORT', '29500')
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):
            env[name]  # noqa: B018
    except (KeyError, OSError, subprocess.SubprocessError) as error:
        raise QuantizationError(
            f'--launcher {launcher} finds no {error}: start the tool with torchrun (pytorch), '
            'srun (slurm) or mpirun and MASTER_ADDR (mpi)'
        ) from error


def _start(dist_cfg: dict[str, Any]) -> None:
    backend, local = 'gloo', int(os.environ['LOCAL_RANK'])
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise QuantizationError(
                f'process {local} of this machine has no GPU: start at most '
                f'{torch.cuda.device_count()} processes here, one per GPU'
            )
        torch.cuda.set_device(local)
        backend = dist_cfg.get('backend', 'nccl')
    timeout = timedelta(seconds=dist_cfg.get('timeout', TIMEOUT))
    try:
        dist.init_process_group(backend, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise QuantizationError(
            f'the processes do not find each other ({first_line(error)}): check MASTER_ADDR, '
            'MASTER_PORT and the number of processes'
        ) from error
