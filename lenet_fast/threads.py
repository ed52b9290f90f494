"""The number of threads to use, and a thread pool."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import os
import re
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from lenet_fast import checks

__all__ = ["ENVIRONMENT_VARIABLE", "MAX_THREADS", "default_threads", "resolve", "usable_cores"]

ENVIRONMENT_VARIABLE = "LENET_FAST_THREADS"
"""Environment variable for the default number of threads."""

MAX_THREADS = 1024
"""Largest number of threads allowed."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def resolve(threads: int | None) -> int:
    """Return a number of threads: the given one, or :func:`default_threads`.

    Parameters
    ----------
    threads : int, optional

    Raises
    ------
    TypeError, ValueError
        If `threads` is not an int from 1 to 1024.

    Examples
    --------
    >>> from lenet_fast import threads
    >>> threads.resolve(3)
    3
    >>> threads.resolve(None) == threads.default_threads()
    True
    >>> threads.resolve(0)
    Traceback (most recent call last):
    ValueError: threads: expected an int from 1 to 1024, got 0
    """
    if threads is None:
        return default_threads()
    return checks.integer("threads", threads, 1, MAX_THREADS)


def default_threads() -> int:
    """Return ``LENET_FAST_THREADS`` if it is set, else :func:`usable_cores`.

    Raises
    ------
    ValueError
        If ``LENET_FAST_THREADS`` is not an int from 1 to 1024.

    Examples
    --------
    >>> import os
    >>> from unittest import mock
    >>> from lenet_fast import threads
    >>> with mock.patch.dict(os.environ, LENET_FAST_THREADS="3"):
    ...     threads.default_threads()
    3
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
    """Return how many physical cores this process may use, as far as the system tells; at least 1.

    Only the CPUs in the process's affinity mask count, hyper-threads of one core count once, and a
    container's CPU quota is a limit.

    Parameters
    ----------
    root : path
        Folder with ``proc`` and ``sys``.

    Examples
    --------
    >>> import os
    >>> from lenet_fast import threads
    >>> 1 <= threads.usable_cores() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:
        cpus = set(range(os.cpu_count() or 1))
    cores = {_siblings(Path(root), cpu) for cpu in cpus}
    return max(1, math.ceil(min(len(cores), _quota(Path(root)))))


def _siblings(root: Path, cpu: int) -> str:
    """Return a text that all hyper-threads of one core share."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    return _read(folder / "thread_siblings_list") or f"unknown, CPU {cpu}"


def _quota(root: Path) -> float:
    """Return the CPU quota of the process's control groups, in CPUs; infinity without a limit."""
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
        # The limits of all parent groups apply, too. In a container the path may be the
        # host's, of which only the mount itself is visible.
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
    """Wait for all of them despite signals; raise a KeyboardInterrupt only after that."""
    pending = list(futures)
    interrupt: KeyboardInterrupt | None = None
    while not all(future.done() for future in pending):
        try:
            wait(pending)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


class _Task:
    """A function call and its future."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.future: Future[Any] = Future()
        self._function, self._arguments = function, arguments

    def run(self, idle: threading.Semaphore) -> None:
        """Make the call, unless it was cancelled.

        The thread is marked idle before the result is set: a caller that waits for the result may
        submit again at once, and must find this thread instead of starting another.
        """
        if not self.future.set_running_or_notify_cancel():
            idle.release()
            return
        try:
            result = self._function(*self._arguments)
        except BaseException as error:
            idle.release()
            self.future.set_exception(error)
        else:
            idle.release()
            self.future.set_result(result)


def _work(first: list[_Task], tasks: SimpleQueue[_Task | None], idle: threading.Semaphore) -> None:
    """Run a first task, and then those of the queue, until a None arrives."""
    task: _Task | None = first.pop()  # a thread keeps its arguments alive, but not the list's items
    while task is not None:
        task.run(idle)
        task = None  # do not keep it alive while waiting
        task = tasks.get()


class _Workers:
    """A limited number of threads that take tasks from a queue.

    A ``ThreadPoolExecutor`` takes no more tasks once the main thread is done, although other
    threads go on; and if no thread can start, it raises but keeps the task. These threads are
    daemons: those who need their results wait for them, no one else has to.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any] | None:
        """See :meth:`Pool.submit`."""
        # While Python shuts down, threads stop where they are, and new ones never start.
        if sys.is_finalizing():
            return None
        task = _Task(function, arguments)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
            name = f"lenet_fast_{len(self._threads)}"
            given = ([task], self._tasks, self._idle)
            thread = threading.Thread(target=_work, args=given, name=name, daemon=True)
            # The system may have no thread left (RuntimeError) or no memory for one, for example
            # because of a container's limit of processes. Then the existing threads do the work.
            with contextlib.suppress(RuntimeError, MemoryError):
                thread.start()
                self._threads.append(thread)
                return task.future
        if not self._threads:
            return None
        self._tasks.put(task)
        return task.future

    def end(self) -> None:
        """Let the threads end, after their remaining tasks."""
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        """Wait for the threads; call :meth:`end` before."""
        for thread in self._threads:
            if not sys.is_finalizing():  # else they have already stopped
                thread.join()


class Pool:
    """Threads that run a function on a list of items.

    Threads start on first use, and again after a fork, in which they do not survive. With one
    thread, or if no other can start (the system has none left, or Python is shutting down),
    everything runs in the caller's thread. That does not change results. The owner makes its other
    callers wait by ``lock``, which is free again after a fork.

    Examples
    --------
    >>> from lenet_fast.threads import Pool
    >>> pool = Pool(2)
    >>> list(pool.run(lambda number: number * number, range(5)))
    [0, 1, 4, 9, 16]
    >>> pool.close()
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._forget()
        _pools.add(self)

    def _forget(self) -> None:
        self._workers_lock = threading.Lock()
        self.lock = threading.RLock()
        self._workers: _Workers | None = None

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result] | None:
        """Make a call in a thread, even if the pool has only one.

        None means that no thread can start: then nothing was done, and the caller may do it.

        Examples
        --------
        >>> from lenet_fast.threads import Pool
        >>> pool = Pool(1)
        >>> pool.submit(pow, 2, 10).result()
        1024
        >>> pool.close()
        """
        with self._workers_lock:
            if self._workers is None:
                self._workers = _Workers(self.threads)
            return self._workers.submit(function, *arguments)

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
        """Yield the results in the order of the items, each as soon as it is available.

        At most about twice as many items as threads run ahead of the results taken. An exception
        of the function is raised here, after the items in progress have finished. A caller that
        stops early must close the generator, which also waits for them.

        Examples
        --------
        >>> import contextlib
        >>> from lenet_fast.threads import Pool
        >>> pool = Pool(2)
        >>> with contextlib.closing(pool.run(len, ["a", "bb", "ccc"])) as lengths:
        ...     next(lengths)  # closing waits for the others
        1
        >>> pool.close()
        """
        if self.threads == 1:
            yield from map(function, items)
            return
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                # Copy the caller's context, so that np.errstate and the like hold in the thread.
                context = contextvars.copy_context()
                future = self.submit(context.run, function, item)
                if future is None:
                    while pending:
                        yield pending[0].result()
                        pending.popleft()
                    yield function(item)
                    continue
                pending.append(future)
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

    def run_all(self, function: Callable[[Item], Any], items: Sequence[Item]) -> None:
        """Run a function on all items at the same time, the first one in the caller's thread.

        There may be at most as many items as threads. All calls have ended when this returns or
        raises. If fewer threads can start, some calls run one after the other, so no call may
        wait for another one to start.

        Examples
        --------
        >>> from lenet_fast.threads import Pool
        >>> pool, squares = Pool(2), {}
        >>> pool.run_all(lambda number: squares.update({number: number * number}), [3, 4])
        >>> sorted(squares.items())
        [(3, 9), (4, 16)]
        >>> pool.close()
        """
        others: list[Future[Any]] = []
        left: list[Item] = []
        try:
            for item in items[1:]:  # one by one, so that all that have started are waited for
                future = self.submit(function, item)
                if future is None:
                    left.append(item)
                else:
                    others.append(future)
            for item in (*items[:1], *left):
                function(item)
        finally:
            _all_ended(others)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads, after their current tasks. The next run starts new ones."""
        with self._workers_lock:
            workers, self._workers = self._workers, None
            if workers is not None:
                workers.end()
        if workers is not None:
            workers.join()

    def __del__(self) -> None:
        if self._workers is not None:
            self._workers.end()


def start_bar(bar: Any) -> None:
    """Start one of rich's progress bars; without a free thread it does not move."""
    with contextlib.suppress(RuntimeError):
        bar.start()


@functools.cache
def _libraries() -> Any:
    import threadpoolctl  # late: it scans all loaded libraries, which takes a while

    return threadpoolctl.ThreadpoolController()


def with_one_blas_thread(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """Return a function that limits NumPy's matrix products to one thread while it runs.

    Call it inside :func:`alone_with_blas`, in any thread.
    """

    def limited(item: Item) -> Result:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(item)

    return limited


@contextlib.contextmanager
def alone_with_blas() -> Iterator[None]:
    """Limit NumPy's matrix products to one thread; other threads that enter wait.

    Some BLAS libraries have one number of threads per process: if several threads set and
    restored it in turn, the last value would be arbitrary. Others have one per thread, hence
    :func:`with_one_blas_thread`.
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
