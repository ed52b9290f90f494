"""Many trainings in one call: bits, errors and Ctrl-C."""

import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from benchmarks import many as many_benchmark
from lenet_fast import backends, data, models
from lenet_fast.training import SGD, Callback, Trainer, TrainingDiverged, train_many


@pytest.fixture(scope="module")
def sets():
    sample = data.load("sample")
    return sample.train, sample.test.subset(50)


def build(seed=0):
    return models.lenet5(pooling="max", activation="relu", output="softmax", seed=seed)


def subset(train, indices):
    return data.Dataset(train.images[indices], train.labels[indices], train.name)


def same(one, other):
    return all((one.parameters[name] == other.parameters[name]).all() for name in one.parameters)


def unlike_times(history):
    return [(row.epoch, row.train_loss, row.train_errors, row.test_loss) for row in history.rows]


JOBS = [
    (np.arange(0, 60), 3, {}),
    (range(5, 90, 2), 1, {"batch_size": 7, "optimiser": "adamw", "epochs": 3}),
    (np.array([9, 9, 4, 700]), 0, {"batch_size": 1, "optimiser": "sdlm"}),
    (np.arange(40), 2, {"distortion": "paper", "average_from": 1, "evaluate_train": True}),
]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("given", [build(5), build])
def test_bits_are_those_of_single_runs(sets, threads, given):
    train, test = sets
    runs = list(train_many(given, train, test, JOBS, threads=threads, epochs=2))
    assert [run.index for run in runs] == [0, 1, 2, 3]
    for run, (indices, seed, options) in zip(runs, JOBS, strict=True):
        options = dict(options)
        epochs = options.pop("epochs", 2)
        trainer = Trainer(build(5 if given is not build else seed), seed=seed, **options)
        history = trainer.fit(subset(train, np.asarray(indices)), test, epochs, verbose=False)
        assert run.error is None
        assert same(run.network, trainer.result)
        assert unlike_times(run.history) == unlike_times(history)
    assert not same(runs[0].network, runs[3].network)  # they do differ


def test_network_and_optimiser_given_stay_as_they_are(sets):
    start, optimiser = build(), SGD(momentum=0.9)
    jobs = [(range(64), 0), (range(64), 0)]
    one, other = train_many(start, *sets, jobs, optimiser=optimiser, epochs=1)
    assert same(start, build())
    assert optimiser.steps == 0
    assert same(one.network, other.network)
    assert one.network is not other.network


def test_whole_set_and_weights(sets):
    train, test = sets
    weights = np.linspace(0, 2, 100)
    weighted = data.Dataset(train.images[:100], train.labels[:100], weights=weights)
    whole, part = train_many(build(), weighted, test, [(None, 0), (range(50), 0)], epochs=1)
    for run, n in ((whole, 100), (part, 50)):
        network = build()
        Trainer(network).fit(weighted.subset(n), test, 1, verbose=False)
        assert same(run.network, network)


def test_an_error_belongs_to_its_run(sets):
    jobs = [(range(64), 0), (range(640), 0, {"schedule": 1e30}), (range(64), 0)]
    good, bad, after = train_many(build(), *sets, jobs, epochs=1, threads=2)
    assert isinstance(bad.error, TrainingDiverged)
    assert bad.network is None
    assert same(good.network, after.network)


def test_stop_on_error_raises_it_after_the_results_before_it(sets):
    jobs = [(range(64), 0), (range(640), 0, {"schedule": 1e30}), *[(range(64), 0)] * 20]
    runs = train_many(build(), *sets, jobs, epochs=1, threads=2, stop_on_error=True)
    assert next(runs).error is None
    with pytest.raises(TrainingDiverged):
        next(runs)
    assert list(runs) == []


def test_trainings_are_taken_as_they_begin(sets):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield range(32), 0

    runs = train_many(build(), *sets, endless(), epochs=1, threads=2)
    assert [next(runs).index for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 5
    before = threading.active_count()
    runs.close()
    assert threading.active_count() < before


def test_closing_stops_long_trainings(sets):
    began = threading.Event()

    class Began(Callback):
        def on_batch_end(self, trainer, progress):
            began.set()

    jobs = [(range(32), 0, {"epochs": 1})] + [(None, 0, {"callbacks": [Began()]})] * 20
    runs = train_many(build(), *sets, jobs, threads=2, epochs=100_000)
    next(runs)
    assert began.wait(60)
    runs.close()  # would take hours if it waited for the last epochs


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_all(threads, tmp_path):
    script = tmp_path / "many.py"
    script.write_text(
        "from lenet_fast import data, models\n"
        "from lenet_fast.training import train_many\n"
        "sample = data.load('sample')\n"
        "jobs = [(range(32), 0, {'epochs': 1}), *[(None, 0)] * 9]\n"
        "runs = train_many(models.lenet5(), sample.train, sample.test, jobs,\n"
        f"                  threads={threads}, epochs=100_000)\n"
        "next(runs)\n"
        "print('began', flush=True)\n"
        "list(runs)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout.readline() == "began\n"
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT


def test_the_backend_of_a_with_block_holds_in_the_threads(sets):
    with backends.use_backend("numpy"):
        (run,) = train_many(build(), *sets, [(range(20), 0)], epochs=1, threads=2)
        network = build()
        Trainer(network).fit(subset(sets[0], np.arange(20)), sets[1], 1, verbose=False)
    assert same(run.network, network)


def test_files_are_those_of_a_single_run(sets, tmp_path):
    (run,) = train_many(build(), *sets, [(range(64), 0, {"out": tmp_path / "run"})], epochs=1)
    assert run.error is None
    Trainer.resume(tmp_path / "run").fit(subset(sets[0], np.arange(64)), sets[1], 2, verbose=False)


@pytest.mark.parametrize(
    ("trainings", "options", "error", "message"),
    [
        (3, {}, TypeError, "trainings: expected a list of tuples"),
        ([3], {}, TypeError, "trainings[0]: expected a tuple"),
        ([(range(3), 0), ([], 0)], {}, ValueError, "trainings[1]: subset: expected at least"),
        ([([0.5], 0)], {}, TypeError, "trainings[0]: subset: expected indices"),
        ([([[1], [1, 2]], 0)], {}, TypeError, "trainings[0]: subset: expected indices"),
        ([(np.arange(0), 0)], {}, ValueError, "subset: expected at least one image"),
        ([([-1, 2], 0)], {}, ValueError, "expected indices from 0 to 999, got -1 to 2"),
        ([([1000], 0)], {}, ValueError, "expected indices from 0 to 999, got 1000 to 1000"),
        ([(None, -1)], {}, ValueError, "trainings[0]: seed: expected"),
        ([(None, 0, {"sed": 1})], {}, ValueError, "trainings[0]: options: expected one of"),
        ([(None, 0, 5)], {}, TypeError, "trainings[0]: options: expected a mapping"),
        ([], {"seed": 1}, ValueError, "options: expected one of"),
        ([], {"threads": 0}, ValueError, "threads: expected"),
        ([], {"stop_on_error": 1}, TypeError, "stop_on_error: expected"),
    ],
)
def test_bad_arguments(sets, trainings, options, error, message):
    train = sets[0].subset(1000)
    with pytest.raises(error, match=re.escape(message)):
        list(train_many(build(), train, sets[1], trainings, **options))


def test_bad_network_and_sets(sets):
    with pytest.raises(TypeError, match="network: expected a Network, or a function"):
        train_many("lenet5", *sets, [])
    with pytest.raises(ValueError, match="test: expected at least one image"):
        train_many(build(), sets[0], sets[1].subset(0), [])
    with pytest.raises(TypeError, match="train: expected a Dataset"):
        train_many(build(), data.load("sample"), sets[1], [])
    (run,) = train_many(lambda seed: "lenet5", *sets, [(None, 0)])
    assert isinstance(run.error, TypeError)


def test_benchmark(capsys):
    many_benchmark.main(["--runs", "3", "--digits", "20", "--rounds", "1"])
    assert "train_many, 1 thread" in capsys.readouterr().out
