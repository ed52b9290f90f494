"""How many threads to use, and a small pool of them."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from lenet_fast import checks

__all__ = ["ENVIRONMENT_VARIABLE", "MAX_THREADS", "default_threads", "resolve", "usable_cores"]

ENVIRONMENT_VARIABLE = "LENET_FAST_THREADS"
"""Says the default number of threads, where it is set."""

MAX_THREADS = 1024
"""More are refused."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def resolve(threads: int | None) -> int:
    """Return a number of threads: the one given, or :func:`default_threads`.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no int from 1 to 1024.
    """
    if threads is None:
        return default_threads()
    return checks.integer("threads", threads, 1, MAX_THREADS)


def default_threads() -> int:
    """Return ``LENET_FAST_THREADS`` if it is set, else :func:`usable_cores`.

    Raises
    ------
    ValueError
        If ``LENET_FAST_THREADS`` holds no int from 1 to 1024.
    """
    text = os.environ.get(ENVIRONMENT_VARIABLE)
    if not text:
        return min(usable_cores(), MAX_THREADS)
    number = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    if not 1 <= number <= MAX_THREADS:
        raise ValueError(
            f"{ENVIRONMENT_VARIABLE}: expected an int from 1 to {MAX_THREADS}, got {text[:20]!r}"
        )
    return number


def usable_cores(root: str | os.PathLike[str] = "/") -> int:
    """Return how many physical cores this process may use, where the system tells; 1 at least.

    Only the CPUs that the process is bound to count, hyper-threads of one core count once, and the
    CPU time that a container is granted is the limit.

    Parameters
    ----------
    root : path
        Where ``proc`` and ``sys`` are looked for.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:
        cpus = set(range(os.cpu_count() or 1))
    cores = {_siblings(Path(root), cpu) for cpu in cpus}
    return max(1, math.ceil(min(len(cores), _quota(Path(root)))))


def _siblings(root: Path, cpu: int) -> str:
    """Return a text that the hyper-threads of one core have in common."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    return _read(folder / "thread_siblings_list") or f"unknown, CPU {cpu}"


def _quota(root: Path) -> float:
    """Return how many CPUs' time the process's control groups grant; infinity without a limit."""
    limits = [math.inf]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":  # version 2
            mounts = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        # Each group above has a say too. Within a container the path may be one of the host,
        # of which nothing but the mount itself is seen.
        inner = Path(path.lstrip("/"))
        for mount in mounts:
            limits += [_limit(mount / group) for group in (inner, *inner.parents)]
    return min(limits)


def _limit(group: Path) -> float:
    text = _read(group / "cpu.max")
    if not text:
        text = f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
    try:
        quota, period = (float(word) for word in text.split())
    except ValueError:  # no such files, or "max": no limit
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _all_ended(futures: Iterable[Future[Any]]) -> None:
    """Wait for all of them, whatever the signals; an interrupt comes out only then."""
    pending = list(futures)
    interrupt: KeyboardInterrupt | None = None
    while not all(future.done() for future in pending):
        try:
            wait(pending)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


class Pool:
    """Threads that run a function on a list of items.

    They are started when first needed, and again after a fork, which leaves them behind. With
    one thread everything runs in the caller's.

    Parameters
    ----------
    threads : int
        At least 1.

    Attributes
    ----------
    alone : threading.RLock
        For the owner, to keep its other callers waiting; nobody holds it after a fork.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._forget()
        _pools.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self.alone = threading.RLock()
        self._executor: ThreadPoolExecutor | None = None

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.threads, "lenet_fast")
            return self._executor

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
        """Yield the results in the order of the items, each as soon as it is there.

        Only a few items more than there are threads are begun before their results are taken.
        An exception of the function comes out here, once the items that have begun are done.
        Who leaves early must close the generator, which waits for them likewise.
        """
        if self.threads == 1:
            yield from map(function, items)
            return
        executor = self._started()
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                # The caller's context, so that np.errstate and the like hold in the thread too.
                context = contextvars.copy_context()
                pending.append(executor.submit(context.run, function, item))
                if len(pending) > 2 * self.threads:
                    yield pending[0].result()
                    pending.popleft()
            while pending:
                yield pending[0].result()
                pending.popleft()
        finally:
            for future in pending:
                future.cancel()
            _all_ended(pending)

    def together(self, function: Callable[[Item], Any], items: Sequence[Item]) -> None:
        """Run a function on all items at the same time, on the first one in the caller's thread.

        There are no more items than threads. All have ended when this returns, or raises what
        the function did.
        """
        others: list[Future[Any]] = []
        try:
            if len(items) > 1:
                executor = self._started()
                for item in items[1:]:  # one by one: what has begun is waited for
                    others.append(executor.submit(function, item))
            function(items[0])
        finally:
            _all_ended(others)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads, after what they are doing. The next run starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()


@functools.cache
def _libraries() -> Any:
    import threadpoolctl  # late: it looks through all loaded libraries, which takes a while

    return threadpoolctl.ThreadpoolController()


def with_one_blas_thread(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """Return a function that holds NumPy's matrix products to one thread while it runs.

    It must run inside :func:`alone_with_blas`, in whatever thread.
    """

    def limited(item: Item) -> Result:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(item)

    return limited


@contextlib.contextmanager
def alone_with_blas() -> Iterator[None]:
    """Hold NumPy's matrix products to one thread, while nobody else in here does.

    For some libraries the number of threads is the process's: were it set and restored from
    several threads in turn, the last value would be anyone's. For others it is each thread's own,
    hence :func:`with_one_blas_thread`.
    """
    with _blas_lock, _libraries().limit(limits=1, user_api="blas"):
        yield


_blas_lock = threading.RLock()
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    global _blas_lock
    _blas_lock = threading.RLock()  # another thread may have held it
    for pool in _pools:
        pool._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
