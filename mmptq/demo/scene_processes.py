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
    context = multiprocessing.get_context('fork')
    try:
        with ProcessPoolExecutor(workers, context, _prepare) as pool:
            yield from pool.map(make, jobs)
    except BrokenProcessPool as error:
        raise OSError('a process was killed: is there enough memory? Start again') from error


def cores() -> int:
    """Cores that this process may use; 1 where processes cannot be forked safely."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1


def _prepare() -> None:
    cv2.setNumThreads(1)  # threads of the first process do not exist in this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends it
