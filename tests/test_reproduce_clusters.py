"""Recipes on clusters: a Dask scheduler with two workers, and MPI, as processes of their own."""

import _thread
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import missing, mpiexec, require, started
from rich import progress

import lenet_fast
from lenet_fast import data
from lenet_fast.cli import group
from lenet_fast.cli.jobs import bars
from lenet_fast.jobs import clusters, workers
from lenet_fast.jobs.runner import RESULT, Marks, WorkersLost, run_all, write
from lenet_fast.reproduce import catalogue, results, runner

(RECIPE,) = catalogue.RECIPES["1989"]
JOBS = [runner.Job(RECIPE, seed) for seed in (0, 1)]
NAMED = JOBS[0].packed(Path())
DATA = {None: data.load("sample")}
HERE = {**os.environ, "PYTHONPATH": str(Path(lenet_fast.__file__).parents[1])}
DASK = (sys.executable, "-P", "-m", "dask")  # without the current folder


def run(out, cluster=None, jobs=JOBS, report=lambda job, done: None):
    return run_all(
        jobs,
        DATA,
        out,
        at_once=2,
        threads=1,
        report=report,
        finished=lambda job, result: None,
        cluster=cluster,
    )


def bits(out):
    """Return what runs have learned and said; all else in their files is times."""
    folders = [out / job.name for job in JOBS]
    found = [(folder / results.MODEL).read_bytes() for folder in folders]
    return found, [results.load(folder).predicted for folder in folders]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The folder of both runs here."""
    out = tmp_path_factory.mktemp("local")
    run(out)
    return out


@contextlib.contextmanager
def process(*words, **environment):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with started(words, env=HERE | environment, **quiet) as it:
        yield it


def worker(address, **environment):
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
    return process(*DASK, "worker", address, *options, **environment)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a Dask scheduler, of which only this machine knows."""
    require("distributed")
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    with process(*DASK, "scheduler", *options, "--scheduler-file", str(file)) as it:
        while not file.exists():
            assert it.poll() is None
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


@pytest.fixture(scope="module")
def dask(scheduler):
    """The address of a scheduler with two workers."""
    from distributed import Client

    with worker(scheduler), worker(scheduler):
        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield scheduler


def opened(address, **options):
    return clusters.opened(clusters.Asked(address, "sample", **options), print)


# --- Dask  ---


@pytest.mark.slow
def test_a_scheduler_without_workers(scheduler, monkeypatch):
    """The first of these tests: no worker has come yet."""
    monkeypatch.setattr(clusters, "SECONDS", 0.5)
    said = f"^--cluster: expected a worker at {scheduler}, .*: dask worker {scheduler}$"
    with pytest.raises(clusters.ClusterError, match=said), opened(scheduler):
        pass


@pytest.mark.slow
def test_a_worker_without_this_package(scheduler, tmp_path):
    (tmp_path / "lenet_fast").mkdir()
    (tmp_path / "lenet_fast/__init__.py").touch()
    said = r"^--cluster: expected the client's lenet_fast on the worker at tcp://.*, got: Module"
    with (
        worker(scheduler, PYTHONPATH=str(tmp_path)),
        pytest.raises(clusters.ClusterError, match=said),
        opened(scheduler),
    ):
        pass


def test_two_workers_have_the_bits_of_here_and_tell_how_far_they_are(dask, local, tmp_path):
    shares = {}

    def report(job, done):
        shares.setdefault(job.seed, []).append(done)

    with opened(dask) as cluster:
        assert cluster.about() == f"2 workers, 2 runs at once, at {dask}"
        found = run(tmp_path, cluster, report=report)
        assert bits(tmp_path) == bits(local)
        assert set(shares) == {0, 1}
        assert all(each == sorted(each) and each[-1] <= 1 for each in shares.values())
        # What is there is not computed again.
        assert run(tmp_path, cluster) == found


def certificate(folder):
    """Return the files of a certificate that is its own authority: authority, certificate, key."""
    if shutil.which("openssl") is None:
        missing("there is no openssl")
    folder.mkdir()
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lenet", "-days", "2")
    subprocess.run(["openssl", *made, "-out", cert, "-keyout", key], check=True, stderr=-3)
    return cert, cert, key


@pytest.mark.slow
def test_tls(local, tmp_path):
    """A scheduler and a worker that take nobody without the certificate."""
    distributed = require("distributed")
    ours, others = certificate(tmp_path / "ours"), certificate(tmp_path / "others")
    names = ("--tls-ca-file", "--tls-cert", "--tls-key")
    tls = [word for pair in zip(names, ours, strict=True) for word in pair]
    file = tmp_path / "scheduler.json"
    listens = ("--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    with process(*DASK, "scheduler", *listens, *tls, "--scheduler-file", str(file)) as it:
        while not file.exists():
            assert it.poll() is None
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        assert address.startswith("tls://")
        asked = ["reproduce", "1989", "--dataset", "sample", "--seeds", "2"]
        asked += ["--out", str(tmp_path / "runs"), "--cluster", address]
        alone = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
        security = distributed.Security(
            tls_ca_file=ours[0], tls_client_cert=ours[1], tls_client_key=ours[2]
        )
        with process(*DASK, "worker", address, *alone, *tls):
            with distributed.Client(address, security=security, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=60)
            done = CliRunner().invoke(group, [*asked, "--cluster-tls", *ours])
            assert done.exit_code == 0, done.output
            assert bits(tmp_path / "runs") == bits(local)
            for wrong in ([], ["--cluster-tls", *others]):
                done = CliRunner().invoke(group, [*asked, "--seeds", "3", *wrong])
                assert done.exit_code == 1
                assert f"got {address}, where none answers: " in done.output


@pytest.mark.slow
def test_ctrl_c_stops_the_workers(dask, tmp_path):
    job = runner.Job(catalogue.LENET5, 0)  # takes minutes
    once = [_thread.interrupt_main]
    at_work = lambda dask_worker: len(dask_worker.active_threads)  # noqa: E731  (sent by value)
    with opened(dask) as cluster:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, cluster, [job], lambda *_: once and once.pop()())
        end = time.monotonic() + 10
        while any(cluster._client.run(at_work).values()):
            assert time.monotonic() < end
            time.sleep(0.1)
    assert not (tmp_path / job.name).exists()


@pytest.mark.slow
def test_searches_of_scikit_learn_on_dask(dask):
    joblib, distributed = require("joblib"), require("distributed")
    require("sklearn")
    from sklearn.model_selection import GridSearchCV

    from lenet_fast.sklearn import LeNetClassifier

    train = DATA[None].train.subset(600)
    search = GridSearchCV(
        LeNetClassifier(epochs=1, n_jobs=1, random_state=0), {"learning_rate": [0.001, 0.01]}, cv=2
    )
    x, y = train.images.reshape(600, -1), train.labels
    here = search.fit(x, y).cv_results_["mean_test_score"].tolist()
    with distributed.Client(dask), joblib.parallel_config("dask"):
        there = search.fit(x, y).cv_results_["mean_test_score"].tolist()
    assert there == here
    assert here[0] != here[1]


@pytest.mark.slow
def test_a_worker_of_another_instruction_set_is_refused_unless_allowed(dask, monkeypatch, tmp_path):
    code = runner.code(RECIPE) | {"numpy": "1.0"}
    monkeypatch.setattr(runner, "code", lambda recipe: code)
    said = r"^the worker on .*, process \d+: expected numpy 1\.0, as the client has, got numpy 2"
    with opened(dask) as cluster, pytest.raises(clusters.ClusterError, match=said):
        run(tmp_path, cluster)
    with opened(dask, mixed=True) as cluster:
        (found,) = run(tmp_path, cluster, JOBS[:1])
    assert found.code["numpy"] != "1.0"


@pytest.mark.slow
def test_a_killed_worker_costs_its_run_only(scheduler, local, tmp_path):
    """Of two workers one is killed once both are at work; the other does its run, too."""
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(worker(scheduler)) for _ in range(2)]
        cluster = stack.enter_context(opened(scheduler))
        cluster._client.wait_for_workers(2, timeout=60)
        seen = set()

        def report(job, done):
            seen.add(job)
            if len(seen) == 2:
                both[0].kill()

        run(tmp_path, cluster, report=report)
        assert both[0].wait() == -signal.SIGKILL
        assert bits(tmp_path) == bits(local)


def test_a_run_that_kills_its_workers_is_told_after_the_others(local, tmp_path):
    """Dask gives up a run after some deaths."""

    class Deadly(clusters.Cluster):
        def __init__(self):
            pass

        def submit(self, job, folder, marks, splits, report):
            future = Future()
            future.set_result(
                {path.name: path.read_bytes() for path in local.glob(f"{job.name}/*")}
            )
            return future

        def result(self, future):
            if b'"seed": 0' in future.result()[RESULT]:
                raise WorkersLost("4 workers died in it")
            return future.result()

    with pytest.raises(WorkersLost, match=r"^1989/seed-0: 4 workers died in it$"):
        run(tmp_path, Deadly())
    (kept,) = tmp_path.glob("*/*/result.json")
    assert kept.parent == tmp_path / "1989/seed-1"


def test_nobody_there(monkeypatch):
    require("distributed")
    monkeypatch.setattr(clusters, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = silent.getsockname()[1]
        for address in (f"tcp://127.0.0.1:{mute}", "tcp://127.0.0.1:1", "foo://host:1"):
            done = CliRunner().invoke(group, ["reproduce", "1989", "--cluster", address])
            assert done.exit_code == 1
            said = f"Error: --cluster: expected the address of a Dask scheduler, got {address}, wh"
            assert said in done.output


def test_a_late_report_shows_no_bar_again(monkeypatch):
    made = []
    monkeypatch.setattr(
        progress.Progress, "add_task", lambda self, name, **_: made.append(name) or len(made)
    )
    monkeypatch.setattr(progress.Progress, "update", lambda *_, **__: None)
    monkeypatch.setattr(progress.Progress, "remove_task", lambda *_: None)
    with bars(JOBS, None) as (moved, ended):
        moved(JOBS[0], 0.5)
        ended(JOBS[0], None)
        moved(JOBS[0], 0.9)
    assert made == ["all 2 runs", "1989/seed-0"]


# --- MPI  ---


def reproduce(out, *words):
    names = ("reproduce", "1989", "--dataset", "sample", "--out", str(out), "--cluster", "mpi")
    return (*names, *words)


@pytest.mark.slow
def test_two_ranks_have_the_bits_of_here(local, tmp_path):
    words = mpiexec(3, "-m", "lenet_fast", *reproduce(tmp_path, "--seeds", "2"))
    done = subprocess.run(words, env=HERE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "\ncluster   2 of 3 MPI processes\n" in done.stdout
    assert done.stderr.count(" % errors, ") == 2  # a line per run
    assert bits(tmp_path) == bits(local)


def test_ranks_tell_how_far_they_are():
    code = """
import time
from types import SimpleNamespace

from lenet_fast import data
from lenet_fast.jobs import clusters, workers
from lenet_fast.jobs.runner import Marks


def work(task, report, stop):
    report(0.1)  # too soon after the start
    time.sleep(1.2)
    report(0.5)
    return {"name": task.name.encode()}


workers.work = work
splits = data.load("sample")
with clusters.opened(clusters.Asked("mpi", "sample"), print) as cluster:
    if cluster is not None:
        said = []
        futures = []
        for name in "ab":
            job = SimpleNamespace(name=name, packed=str, dataset=None, code=lambda: None)
            report = lambda done, name=name: said.append((name, done))
            futures.append(cluster.submit(job, ".", Marks.of(splits), splits, report))
        assert [future.result() for future in futures] == [{"name": b"a"}, {"name": b"b"}]
        while len(said) < 2:
            cluster.check()
        print(sorted(said))
"""
    done = subprocess.run(
        mpiexec(3, "-c", code), env=HERE, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[('a', 0.5), ('b', 0.5)]\n"


def test_one_rank_is_too_few(tmp_path):
    words = mpiexec(1, "-m", "lenet_fast", *reproduce(tmp_path))
    done = subprocess.run(words, env=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--cluster mpi: expected at least 2 processes, the first of" in done.stderr


@pytest.mark.slow
def test_ctrl_c_stops_all_ranks(tmp_path):
    words = mpiexec(3, "-m", "lenet_fast", *reproduce(tmp_path, "--seeds", "9"))
    with started(words, env=HERE) as it:
        for line in it.stderr:
            if " % errors, " in line:
                break
        it.send_signal(signal.SIGINT)
        _, said = it.communicate(timeout=30)
    assert it.returncode == 130
    assert "Stopped. To continue:\n  mpiexec -n 3 " in said
    assert 1 <= len(list(tmp_path.glob("*/*/result.json"))) < 9


# --- workers  ---


def task(**changes):
    job = JOBS[0]
    marks = Marks.of(DATA[None])
    asked = workers.Task(job.name, NAMED, "sample", None, marks, "the sample", job.code())
    return asked._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"packed": NAMED._replace(recipe="lenet9")},
            "expected a recipe lenet9, but there is none",
        ),
        (
            {"packed": NAMED._replace(description={})},
            "expected the client's recipe 1989, got another",
        ),
        ({"code": {}}, "expected lenet_fast unknown, .*Either install the same versions on both"),
        (
            {"code": runner.code(RECIPE) | {"isa": "none"}},
            "expected isa none, .*Either set LENET_FAST_BACKEND and LENET_FAST_ISA alike for both",
        ),
        ({"marks": Marks("a", "b")}, "expected the client's data, the sample, got the bund"),
        ({"dataset": "digit"}, "no data: dataset: expected"),
    ],
)
def test_what_a_worker_refuses(changes, said):
    with pytest.raises(clusters.ClusterError, match=rf"^the worker on .*, process \d+: {said}"):
        workers.work(task(**changes), lambda done: None, None)


def test_a_worker_without_the_data(tmp_path, monkeypatch):
    """A folder of the client's that the worker does not have is none of its own."""
    monkeypatch.setenv("LENET_FAST_DATA", str(tmp_path))
    asked = task(dataset="mnist", folder=str(tmp_path / "missing"))
    with pytest.raises(clusters.ClusterError, match=rf"no data: (?s:.*){tmp_path}"):
        workers.work(asked, lambda done: None, None)


def test_a_worker_reads_the_clients_file_anew_when_it_has_changed(tmp_path):
    """A worker lives longer than a client."""
    file = tmp_path / "digits.npz"
    for seed in (0, 1):
        images = np.random.default_rng(seed).integers(0, 256, (20, 28, 28), np.uint8)
        labels = np.arange(20) % 10
        np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
        marks = Marks.of(data.load(folder=file))
        found = workers._splits(task(dataset="auto", folder=str(file), marks=marks))
        assert np.array_equal(found.train.images, images)
        again = workers._splits(task(dataset="auto", folder=str(file), marks=marks))
        assert again is found  # loaded once
    file.unlink()
    said = rf"expected the client's data, the sample, got .*; there is no {file} here; LENET"
    with pytest.raises(clusters.ClusterError, match=said):
        workers._splits(task(folder=str(file), marks=Marks("a", "b")))


def test_names_of_files_stay_in_the_folder(tmp_path):
    write({"../../a": b"1", RESULT: b"{}"}, tmp_path / "x" / "y")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "a",
        RESULT,
    ]
    assert (tmp_path / "x/y/a").exists()


def test_a_worker_that_sends_something_else(tmp_path):
    class Confused(clusters.Cluster):
        def __init__(self):
            self._futures = []

        def submit(self, *_):
            future = Future()
            future.set_result({RESULT: b"{}"})
            return future

    with pytest.raises(ValueError, match="expected the result of a job, got something else"):
        run(tmp_path, Confused())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cluster", "host:8786"], "--cluster: expected mpi, or an address such as tcp://HOST"),
        (["--cluster", "mpi", "--jobs", "2"], "--jobs: expected without --cluster"),
        (["--cluster-mixed"], "--cluster-mixed: expected with --cluster"),
        (["--cluster", "mpi", "--cluster-tls", *[__file__] * 3], "--cluster-tls: expected without"),
    ],
)
def test_options_that_do_not_go_together(options, said):
    done = CliRunner().invoke(group, ["reproduce", "1989", *options])
    assert done.exit_code == 2
    assert said in done.output
