"""Makes the scenes of a data set in several processes, in order."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

FEWEST = 8  # fewer jobs are done sooner without other processes

Job, Result = TypeVar('Job'), TypeVar('Result')


def in_processes(make: Callable[[Job], Result], jobs: list[Job]) -> Iterator[Result]:
    """``map(make, jobs)``, with one process per core where there are many jobs.

    Args:
        make (Callable): A function of a module; what it returns can be pickled.
        jobs (list): Its arguments.

    Raises:
        OSError: If a process was killed, or what ``make`` raised.
    """
    workers = min(cores(), len(jobs) // FEWEST)
    if workers < 2:
        yield from map(make, jobs)
        return
    # A fork of this process would keep locks that its other threads hold, and wait for ever.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([make.__module__])
    try:
        with ProcessPoolExecutor(workers, context, _prepare) as pool:
            yield from pool.map(make, jobs)
    except BrokenProcessPool as error:
        raise OSError('a process was killed: is there enough memory? Start again') from error


def cores() -> int:
    """Cores that this process may use; 1 where the system has no fork server."""
    servers = 'forkserver' in multiprocessing.get_all_start_methods()
    return len(os.sched_getaffinity(0)) if servers and hasattr(os, 'sched_getaffinity') else 1


def _prepare() -> None:
    cv2.setNumThreads(1)  # one process per core is enough
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends it
