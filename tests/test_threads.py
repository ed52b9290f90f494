"""Threads: how many, and the pool."""

from __future__ import annotations

import _thread
import contextvars
import gc
import io
import math
import os
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from blas import numpy_blas_threads
from helpers import in_child, printed_by

from lenet_fast import threads
from lenet_fast.threads import (
    Pool,
    alone_with_blas,
    default_threads,
    resolve,
    usable_cores,
    with_one_blas_thread,
)

# --- how many ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("LENET_FAST_THREADS", raising=False)


def test_default_is_what_this_process_may_use():
    assert 1 <= usable_cores() <= os.cpu_count()
    assert default_threads() == resolve(None) == usable_cores()


def test_environment_variable(monkeypatch):
    monkeypatch.setenv("LENET_FAST_THREADS", "7")
    assert resolve(None) == 7
    assert resolve(3) == 3
    monkeypatch.setenv("LENET_FAST_THREADS", "")
    assert resolve(None) == usable_cores()


@pytest.mark.parametrize("text", ["0", "-1", "1025", "two", "1.5", " 2", "²", "9" * 5000])
def test_wrong_environment_variable(monkeypatch, text):
    monkeypatch.setenv("LENET_FAST_THREADS", text)
    with pytest.raises(ValueError, match="LENET_FAST_THREADS: expected an int from 1 to 1024, got"):
        resolve(None)
    assert resolve(1) == 1


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-2, ValueError), (1025, ValueError), (1.0, TypeError), ("2", TypeError)],
)
def test_wrong_number(value, error):
    with pytest.raises(error, match="threads: expected an int"):
        resolve(value)
    with pytest.raises(TypeError, match="threads: expected an int"):
        resolve(True)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def bind(monkeypatch, *cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cpus), raising=False)


def siblings(cores: dict[int, str]) -> dict[str, str]:
    return {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": text
        for cpu, text in cores.items()
    }


def test_hyper_threads_of_a_core_count_once(monkeypatch, tmp_path):
    write(tmp_path, siblings({0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}))
    bind(monkeypatch, 0, 1, 4, 5)
    assert usable_cores(tmp_path) == 2
    bind(monkeypatch, 0, 4)
    assert usable_cores(tmp_path) == 1


def test_unknown_cpus_count_each(monkeypatch, tmp_path):
    bind(monkeypatch, 0, 1, 5)
    assert usable_cores(tmp_path) == 3


def test_without_affinity(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        # Version 2: the group, those above it, and the mount itself inside a container.
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/cpu.max": "600000 100000",
                "sys/fs/cgroup/a/cpu.max": "300000 100000",
            },
            3,
        ),
        ({"proc/self/cgroup": "0::/of/the/host", "sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        # Version 1.
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n1:name=systemd:/y",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/x",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            8,
        ),
        # Nonsense limits nothing.
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "many"}, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "0 0"}, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "nan 100000"}, 8),
        ({"proc/self/cgroup": "what is this?"}, 8),
        ({}, 8),
    ],
)
def test_control_groups_limit(monkeypatch, tmp_path, files, cores):
    bind(monkeypatch, *range(8))
    assert usable_cores(write(tmp_path, files)) == cores


# --- the pool -----------------------------------------------------------------------------------


@pytest.fixture(params=[1, 2, 7])
def pool(request):
    pool = Pool(request.param)
    yield pool
    pool.close()


def test_results_come_in_order(pool):
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(pool.run(slow_first, range(20))) == [item * item for item in range(20)]
    assert list(pool.run(slow_first, [])) == []


def test_runs_in_as_many_threads_as_asked(pool):
    barrier = threading.Barrier(pool.threads, timeout=10)
    seen = set()

    def meet(_: int) -> None:
        barrier.wait()
        seen.add(threading.get_ident())

    list(pool.run(meet, range(pool.threads)))
    assert len(seen) == pool.threads
    assert (threading.get_ident() in seen) == (pool.threads == 1)


def test_exceptions_come_out(pool):
    done = []

    def fail(item: int) -> int:
        if item == 3:
            raise KeyError(item)
        time.sleep(0.001)
        done.append(item)
        return item

    results = pool.run(fail, range(1000))
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(KeyError, match="3"):
        next(results)
    count = len(done)
    assert count < 100  # those after it were not all begun, and none goes on
    time.sleep(0.01)
    assert len(done) == count
    assert list(pool.run(abs, [-1, -2])) == [1, 2]


def test_only_a_few_items_are_begun_early(pool):
    begun = []
    results = pool.run(begun.append, range(1000))
    next(results)
    time.sleep(0.01)
    assert len(begun) <= 2 * pool.threads + 1
    results.close()


def test_the_callers_context_holds(pool):
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(5)
    with np.errstate(divide="raise"):
        assert set(pool.run(lambda _: variable.get(), range(9))) == {5}
        with pytest.raises(FloatingPointError):
            list(pool.run(lambda x: np.ones(1) / x, [np.zeros(1)] * 4))


def test_closed_pool_starts_again():
    pool = Pool(2)
    workers = set(pool.run(lambda _: threading.current_thread(), range(9)))
    pool.close()
    pool.close()
    assert not any(worker.is_alive() for worker in workers)
    assert list(pool.run(abs, [-1, -2, -3])) == [1, 2, 3]
    pool.close()


def test_forgotten_pool_ends_its_threads():
    pool = Pool(2)
    workers = set(pool.run(lambda _: threading.current_thread(), range(9)))
    del pool
    gc.collect()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()


def test_two_callers_at_once(pool):
    results = {}

    def caller(start: int) -> None:
        results[start] = list(pool.run(lambda x: x + 1, range(start, start + 200)))

    callers = [threading.Thread(target=caller, args=(start,)) for start in (0, 1000)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(30)
    assert results == {start: list(range(start + 1, start + 201)) for start in (0, 1000)}


def test_items_run_together(pool):
    """All at once, the first in the caller's thread."""
    barrier = threading.Barrier(pool.threads, timeout=10)
    seen = {}

    def meet(item: int) -> None:
        barrier.wait()
        seen[item] = threading.get_ident()

    for _ in range(3):
        seen.clear()
        pool.run_all(meet, range(pool.threads))
        assert len(set(seen.values())) == pool.threads
        assert seen[0] == threading.get_ident()
    pool.run_all(seen.pop, [0])
    assert 0 not in seen


def test_one_item_needs_no_threads():
    pool = Pool(7)
    pool.run_all(lambda item: None, [1])
    assert pool._workers is None


@pytest.mark.parametrize("wrong", [0, 1])
def test_what_runs_together_ends_before_an_exception_comes_out(wrong):
    pool, done = Pool(3), []

    def fail(item: int) -> None:
        if item == wrong:
            raise KeyError(item)
        time.sleep(0.02)
        done.append(item)

    with pytest.raises(KeyError, match=str(wrong)):
        pool.run_all(fail, [0, 1, 2])
    assert len(done) == 2
    pool.close()


def test_an_interrupt_comes_out_when_all_have_ended():
    pool, done = Pool(3), []

    def slow(item: int) -> None:
        if item == 1:
            time.sleep(0.05)  # until the caller waits
            _thread.interrupt_main()
        if item:
            time.sleep(0.1)
            done.append(item)

    with pytest.raises(KeyboardInterrupt):
        pool.run_all(slow, [0, 1, 2])
    assert sorted(done) == [1, 2]
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        list(pool.run(slow, [1, 2, 3]))
    assert sorted(done) == [1, 2, 3]
    pool.close()


def test_an_owner_can_keep_others_waiting(pool):
    entered = []

    def enter() -> None:
        with pool.lock:
            entered.append(1)

    with pool.lock, pool.lock:  # again, from the same thread
        other = threading.Thread(target=enter)
        other.start()
        time.sleep(0.02)
        assert entered == []
    other.join(10)
    assert entered == [1]


def test_nobody_is_kept_waiting_in_a_child(pool):
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.lock:
            holds.set()
            done.wait(30)

    def child() -> int:
        with pool.lock:
            seen = []
            pool.run_all(seen.append, range(pool.threads))
            return len(seen)

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait(30)
    status = in_child(child)
    done.set()
    holder.join()
    assert status == pool.threads


def test_works_after_a_fork(pool):
    assert list(pool.run(abs, [-1, -2, -3])) == [1, 2, 3]
    assert in_child(lambda: sum(pool.run(abs, [-1, -2, -3]))) == 6
    assert list(pool.run(abs, [-1, -2, -3])) == [1, 2, 3]


def test_works_after_a_fork_in_the_middle_of_a_run():
    pool = Pool(2)
    with pool._workers_lock:  # as another thread may hold it at that moment
        assert in_child(lambda: sum(pool.run(abs, [-1, -2, -3]))) == 6
    pool.close()


# --- BLAS -----------------------------------------------------------------------------------------


def test_blas_is_held_to_one_thread():
    import threadpoolctl

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert numpy_blas_threads() == 2
        with alone_with_blas():
            assert numpy_blas_threads() == 1
            with alone_with_blas():
                assert with_one_blas_thread(lambda _: numpy_blas_threads())(0) == 1
            assert numpy_blas_threads() == 1
        assert numpy_blas_threads() == 2
        with pytest.raises(KeyError), alone_with_blas():
            raise KeyError
        assert numpy_blas_threads() == 2


def test_blas_limits_of_two_threads_do_not_mix():
    before = numpy_blas_threads()
    seen = []

    def work(_: int) -> None:
        for _ in range(20):
            with alone_with_blas():
                seen.append(numpy_blas_threads())
                time.sleep(0.0005)
                seen.append(numpy_blas_threads())

    pool = Pool(2)
    list(pool.run(work, range(2)))
    pool.close()
    assert seen == [1] * 80
    assert numpy_blas_threads() == before


def test_blas_can_be_limited_in_a_child_forked_in_the_middle():
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with alone_with_blas():
            holds.set()
            done.wait(30)

    def limited() -> int:
        with alone_with_blas():
            return numpy_blas_threads()

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait(30)
    status = in_child(limited)
    done.set()
    holder.join()
    assert status == 1


def test_quota_of_this_machine_is_positive():
    assert threads._quota(Path("/")) > 0
    assert not math.isnan(threads._quota(Path("/")))


# --- no threads to be had -------------------------------------------------------------------------


def refusing(monkeypatch, allowed: int) -> None:
    """Let the system have threads for so many more, and then for none."""
    start, left = threading.Thread.start, [None] * allowed

    def refuse(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize("allowed", [0, 1])
def test_goes_on_with_fewer_threads(monkeypatch, allowed):
    pool, seen = Pool(3), set()

    def square(item: int) -> int:
        seen.add(threading.get_ident())
        return item * item

    refusing(monkeypatch, allowed)
    assert list(pool.run(square, range(20))) == [item * item for item in range(20)]
    assert len(seen) == 1
    assert (threading.get_ident() in seen) == (allowed == 0)
    done = []
    pool.run_all(done.append, [1, 2, 3])
    assert sorted(done) == [1, 2, 3]
    pool.close()


def test_without_threads_exceptions_come_out_and_the_rest_is_not_begun(monkeypatch):
    pool, done = Pool(3), []

    def fail(item: int) -> None:
        if item == 1:
            raise KeyError(item)
        done.append(item)

    refusing(monkeypatch, 0)
    with pytest.raises(KeyError, match="1"):
        list(pool.run(fail, [0, 1, 2]))
    assert done == [0]
    with pytest.raises(KeyError, match="1"):
        pool.run_all(fail, [0, 1, 2])
    assert done == [0, 0]


def test_has_threads_again_when_the_system_has(monkeypatch):
    pool = Pool(2)
    with monkeypatch.context() as patch:
        refusing(patch, 0)
        assert pool.submit(abs, -1) is None
    future = pool.submit(threading.get_ident)
    assert future is not None
    assert future.result(10) != threading.get_ident()
    pool.close()


def test_closed_in_the_middle_of_a_run():
    pool = Pool(2)
    found = []
    for item in pool.run(abs, range(-50, 0)):
        found.append(item)
        pool.close()  # as another thread may
    assert found == list(range(50, 0, -1))
    pool.close()


def test_idle_threads_hold_nothing():
    class Item:
        pass

    pool, item = Pool(2), Item()
    held = weakref.ref(item)
    list(pool.run(id, [item, 1, 2]))
    del item
    gc.collect()
    assert held() is None
    pool.close()


ENDING = """
import atexit
import hashlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lenet_fast import data, engines, losses, models
from lenet_fast.training import Trainer

how, engine, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (600, 28, 28), np.uint8)
train = data.Dataset(images, rng.integers(0, 10, 600).astype(np.uint8), "train")
distortion = data.Distortion(shift=1)


def work():
    network = models.lenet5()
    network.initialise("eblearn", 1)
    size = 1 if engine == "online" else 50
    made = Trainer(
        network, engine=engine, batch_size=size, threads=threads, seed=1, distortion=distortion
    )
    made.fit(train, train.subset(100), epochs=1)
    values = b"".join(network.parameters[name].tobytes() for name in sorted(network.parameters))
    os.write(1, hashlib.sha256(values).hexdigest().encode())


def refuse(thread):
    raise RuntimeError("can't start new thread")


if how == "now":
    work()
elif how == "thread":
    threading.Thread(target=work).start()
elif how == "executor":
    ThreadPoolExecutor(2).submit(work)
elif how == "atexit":
    atexit.register(work)
elif how == "no thread":
    threading.Thread.start = refuse
    work()
"""


@pytest.fixture(scope="module")
def trained():
    """Return what a training with one thread ends with, by engine."""
    return {name: printed_by(ENDING, "now", name, "1") for name in ("lanes", "online", "layers")}


@pytest.mark.parametrize("how", ["thread", "executor", "atexit", "no thread"])
@pytest.mark.parametrize("engine", ["lanes", "online", "layers"])
def test_a_training_ends_well_whenever_the_main_thread_does(how, engine, trained):
    assert printed_by(ENDING, how, engine, "3") == trained[engine]


def test_an_engine_works_while_python_ends():
    """Modules are gone by then, and threads stand still."""
    code = """
import os
import sys

import numpy as np

from lenet_fast import engines, losses, models

network = models.lenet5()
network.initialise("eblearn", 1)
engine = engines.create(network, losses.default_for(network), engine=sys.argv[1], threads=3)
images, labels = np.zeros((600, 28, 28), np.uint8), np.zeros(600, np.uint8)


class Last:
    def __init__(self):
        self.arguments = engine, images, labels, os.write

    def __del__(self):
        engine, images, labels, write = self.arguments
        write(1, b"same " if engine.evaluate(images, labels) == expected else b"other ")
        engine.close()
        write(1, b"closed")


expected = engine.evaluate(images, labels)
sys.modules["last"] = Last()
"""
    for name in ("lanes", "online", "layers"):
        assert printed_by(code, name) == "same closed"


def test_a_bar_without_a_thread_stands_still(monkeypatch):
    from rich.console import Console
    from rich.progress import Progress

    refusing(monkeypatch, 0)
    drawn = io.StringIO()
    bar = Progress(console=Console(file=drawn, force_terminal=True, width=80))
    threads.start_bar(bar)
    with bar:
        bar.add_task("images", total=2, completed=2)
    assert "images" in drawn.getvalue()
    assert "100%" in drawn.getvalue()
