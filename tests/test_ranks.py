"""One training by several processes: MPI, started as users start it."""

import csv
import functools
import hashlib
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import mpiexec, require, started

import lenet_fast
from lenet_fast import data, engines, losses, models
from lenet_fast.cli import group
from lenet_fast.engines import ranks, tile
from lenet_fast.engines.program import ItemKind
from lenet_fast.locks import LockedFolder
from lenet_fast.training import Adam, checkpoints

GRADIENT, UPDATE = ItemKind.GRADIENT, ItemKind.UPDATE


# --- who does what  ---


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 20, 128, 150])
def test_all_shares_together_are_the_batches_of_one_process(size, batch):
    n, trained = 300, 60_000
    whole = tile.batch_items(n, batch, 16, trained, GRADIENT)
    every = [tile.shares(n, batch, 16, trained, GRADIENT, 1, rank, size) for rank in range(size)]
    assert {len(shares) for shares in every} == {math.ceil(n / batch)}
    fields = ["kind", "first", "last", "block", "step", "start"]
    for k, part in enumerate(whole.batches):
        found = np.concatenate([shares[k].gradients.items for shares in every])
        np.testing.assert_array_equal(found[fields], whole.items[part][fields])
        updates = np.concatenate([shares[k].update.items for shares in every])
        updates = updates[updates["kind"] == UPDATE]
        pairs = itertools.chain.from_iterable(updates[["first", "last"]].tolist())
        edges = [0, *(edge for edge in pairs if edge)]
        assert edges[-1] == trained
        assert edges[1:-1:2] == edges[2::2]  # each begins where the one before ends
        assert all(edge % tile.ALIKE == 0 for edge in edges[:-1])
        count = part.stop - part.start
        assert {*updates["block"].tolist()} == {*updates["opened"].tolist()} == {count}
        assert {*updates["images"].tolist()} == {whole.images[k]}


def test_updates_in_parts_with_items_that_stand_in_for_blocks_have_the_bits_of_one_call(backend):
    """What the ranks do, in one process."""
    sample = data.load("sample").train.subset(100)
    images, labels, order = sample.images, sample.labels, np.arange(100)[::-1].copy()

    class Alone:
        rank, size, threads = 0, 1, 2
        link = property(lambda self: self)

        def gather(self, value):
            return [value]

        def spread(self, array, edges):
            assert edges[-1] == len(array)

        def exchange(self, gradients, totals, blocks, parts):
            assert len(gradients) == len(totals) == blocks[-1]

    found = []
    for shared in (False, True):
        network, loss, adam = models.lenet5(), losses.MAP(), Adam()
        try:
            engine = engines.create(network, loss, engine="lanes", backend=backend, threads=2)
        except engines.Unsupported:
            pytest.skip("this backend has no lane engine")
        if shared:
            engine = ranks.RanksEngine(network, loss, Alone(), backend=backend)
        totals = engine.train(images, labels, order, 40, adam, 0.001)
        state = [*network.parameters.values(), *adam.state().values()]
        state += engine.hessian_diagonal(images, labels).values()
        found.append((totals, engine.evaluate(images, labels), state))
        engine.close()
    assert found[0][:2] == found[1][:2]
    for one, other in zip(found[0][2], found[1][2], strict=True):
        np.testing.assert_array_equal(one, other)


# --- as users start it  ---


HERE = {**os.environ, "PYTHONPATH": str(Path(lenet_fast.__file__).parents[1])}
OPTIONS = (
    *("--dataset", "sample", "--limit", "950", "--batch-size", "128", "--epochs", "2"),
    *("--output", "softmax", "--initialiser", "lecun_sqrt", "--distort", "paper"),
)


def call(words, check=True, **environment):
    done = subprocess.run(
        words, env=HERE | environment, capture_output=True, text=True, timeout=120, check=False
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def command(ranks, *words):
    words = ("-m", "lenet_fast", "train", *words)
    if ranks is None:
        return (sys.executable, *words)
    return mpiexec(ranks, *words, "--distributed", "mpi")


def train(ranks, out, *words, check=True):
    """Train in a folder named after the ranks; None: in one process, without MPI."""
    return call(command(ranks, *OPTIONS, "--out", str(out / str(ranks)), *words), check)


def outcome(folder):
    """Return the bits of a model, and its history without times."""
    columns = ("train_loss", "train_errors", "test_loss", "test_errors", "rate")
    with open(folder / "history.csv", encoding="utf-8") as file:
        rows = [[row[name] for name in columns] for row in csv.DictReader(file)]
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(), rows


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The outcome of a plain run."""
    out = tmp_path_factory.mktemp("plain")
    train(None, out)
    return outcome(out / "None")


def test_two_ranks_train_to_the_bits_of_one_process_and_only_one_prints(plain, tmp_path):
    done = train(2, tmp_path)
    assert outcome(tmp_path / "2") == plain
    assert done.stderr == ""
    assert done.stdout.count("best: epoch ") == 1
    assert "\n          in each of 2 MPI processes\n" in done.stdout
    config = tomllib.loads((tmp_path / "2/config.toml").read_text())
    assert config["run"]["ranks"] == 2
    assert "distributed" not in config["options"]


def program(what):
    """Return a program that does something when all ranks look whether to stop, `at` an epoch and
    a batch, from 0."""
    return f"""
import os, signal, sys
from lenet_fast.cli import main
from lenet_fast.training import Trainer
ask = Trainer._should_stop
def should_stop(self):
    rank = self._ranks.rank if self._ranks else 0
    at = self._position.epoch, self._position.batch
    {what}
    return ask(self)
Trainer._should_stop = should_stop
main(["train", *sys.argv[1:]])
"""


@pytest.mark.slow
def test_a_run_goes_on_with_other_numbers_of_ranks(plain, tmp_path):
    """Three ranks, one process, two ranks: each does a part of two epochs."""
    out = str(tmp_path / "3")
    stop = program("if at == (1, 3) and rank == 1: self.stop()")  # one of them is enough
    words = (*OPTIONS, "--out", out, "--checkpoint-every", "384", "--distributed", "mpi")
    done = call(mpiexec(3, "-c", stop, *words), check=False)
    assert done.returncode == 130
    assert "Stopped in epoch 2 of 2; saved. To resume:\n  mpiexec -n 3 " in done.stderr
    position = checkpoints.load(tmp_path / "3/checkpoint.safetensors").position
    assert (position.epoch, position.batch) == (1, 3)
    stop = program("if at == (1, 7): self.stop()")
    done = call((sys.executable, "-c", stop, "--resume", out), check=False)
    assert done.returncode == 130
    position = checkpoints.load(tmp_path / "3/checkpoint.safetensors").position
    assert (position.epoch, position.batch) == (1, 7)
    assert call(command(2, "--resume", out)).stderr == ""
    assert outcome(tmp_path / "3") == plain


SLOW = pytest.mark.slow


@pytest.mark.parametrize("size", [pytest.param(1, marks=SLOW), 2, pytest.param(3, marks=SLOW)])
def test_trainings_of_every_kind_have_the_bits_of_one_process(size):
    program = Path(__file__).with_name("ranks_program.py")
    done = call(mpiexec(size, "-m", "mpi4py", str(program)))
    assert done.stdout.splitlines() == one_process()


@functools.cache
def one_process():
    import ranks_program

    return ranks_program.digests(None)


# --- what goes wrong  ---


def test_a_loss_that_is_not_finite_ends_all_alike(tmp_path):
    done = train(2, tmp_path, "--rate", "1e30", check=False)
    assert done.returncode == 1
    assert done.stderr.count("lenet-fast: error: ") == 1
    assert "expected a finite loss, got nan" in done.stderr
    assert not any(tmp_path.glob("*/*"))


def test_one_that_fails_alone_says_so_and_ends_all(tmp_path):
    fail = program("if at == (1, 8) and rank == 1: raise MemoryError('too much')")
    out = str(tmp_path / "run")
    done = call(mpiexec(2, "-c", fail, *OPTIONS, "--out", out, "--distributed", "mpi"), check=False)
    assert done.returncode == 1
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("lenet-fast: "))
    pattern = r"error: rank 1 of 2, process \d+ on .*, failed: out of memory: too much"
    assert re.fullmatch(f"lenet-fast: {pattern}", said)
    assert checkpoints.load(tmp_path / "run/checkpoint.safetensors").position.epoch == 1


def test_one_that_is_killed_ends_all(tmp_path):
    die = program("if at == (1, 8) and rank == 1: os.kill(os.getpid(), signal.SIGKILL)")
    out = str(tmp_path / "run")
    done = call(mpiexec(2, "-c", die, *OPTIONS, "--out", out, "--distributed", "mpi"), check=False)
    assert done.returncode != 0
    assert "Killed" in done.stdout + done.stderr  # by mpiexec
    assert checkpoints.load(tmp_path / "run/checkpoint.safetensors").position.epoch == 1


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=SLOW), signal.SIGTERM])
def test_a_signal_to_mpiexec_saves_and_stops(number, tmp_path):
    out = str(tmp_path / "run")
    with started(command(2, *OPTIONS, "--epochs", "10000", "--out", out), env=HERE) as it:
        for line in it.stdout:
            if line.startswith("    1 "):
                break
        it.send_signal(number)
        _, said = it.communicate(timeout=30)
    assert it.returncode == 128 + number
    assert said.count("saved. To resume:") == 1
    assert checkpoints.load(tmp_path / "run/checkpoint.safetensors").position.epoch >= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            *(("--seed", "2"), "rank 1 of 2: expected seed 0, as the first rank has, got 2; start"),
            marks=SLOW,
        ),
        (
            ("--limit", "949"),
            r"rank 1 of 2: expected the first rank's data for train \(.*950 images",
        ),
        (("--data", "/nowhere"), "rank 1 of 2, process .* failed: --data: expected none with"),
    ],
)
def test_ranks_that_differ_are_refused(words, said, tmp_path):
    first = command(1, *OPTIONS, "--out", str(tmp_path / "run"))
    done = call((*first, ":", *command(1, *OPTIONS, *words)[1:]), check=False)
    assert done.returncode in (1, 2)
    assert re.search(f"^lenet-fast: error: {said}", done.stderr)
    assert done.stderr.count("error: ") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_instruction_set_is_refused_unless_allowed(plain, tmp_path):
    builds = require("lenet_fast.backends.cython_backend").instruction_sets()
    if len(builds) < 2:
        pytest.skip("one instruction set is built")
    first = command(1, *OPTIONS, "--out", str(tmp_path / "run"), "--distributed-mixed")
    second = ("-n", "1", "env", f"LENET_FAST_ISA={builds[0]}", *first[3:])
    assert call((*first[:-3], *first[-2:], ":", *second), check=False).returncode == 1
    call((*first, ":", *second))
    _, rows = outcome(tmp_path / "run")
    for row, one in zip(rows, plain[1], strict=True):
        assert np.allclose(*([float(each) for each in some[::2]] for some in (row, one)), rtol=1e-2)


def test_mpiexec_without_the_option(tmp_path):
    """Each process would train the same network."""
    alone = ("--dataset", "sample", "--limit", "64", "--epochs", "1")
    done = call(mpiexec(2, "-m", "lenet_fast", "train", *alone), check=False)
    assert done.returncode == 2
    assert "--distributed: expected mpi to make one training of the 2 processes" in done.stderr
    with LockedFolder(tmp_path):
        words = mpiexec(2, "-m", "lenet_fast", "train", *alone, "--out", str(tmp_path))
        done = call(words, check=False)
    assert done.returncode == 1
    assert f"but {tmp_path} is in use; " in done.stderr
    assert "; --distributed mpi makes one training of the 2 processes" in done.stderr


@pytest.mark.parametrize(
    ("size", "words", "said"),
    [
        (2, ("--batch-size", "1"), "--batch-size: expected several images, whose gradients"),
        pytest.param(
            *(2, ("--engine", "layers"), "--engine: expected 'lanes', the only one for several"),
            marks=SLOW,
        ),
        pytest.param(
            *(9, (), "ranks: expected at most 8, since a batch is cut into at most so many blocks"),
            marks=SLOW,
        ),
    ],
)
def test_what_several_ranks_cannot_do(size, words, said, tmp_path):
    done = train(size, tmp_path, *words, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"lenet-fast: error: {said}")
    assert done.stderr.count("error: ") == 1


def test_one_with_a_wrong_environment_ends_all(tmp_path):
    """It fails before it can tell the others."""
    first = command(1, *OPTIONS, "--out", str(tmp_path / "run"))
    second = ("-n", "1", "env", "LENET_FAST_THREADS=many", *first[3:])
    done = call((*first, ":", *second), check=False)
    assert done.returncode == 1
    assert "lenet-fast: error: rank 1 of 2, process " in done.stderr
    assert " failed: LENET_FAST_THREADS: expected an int from 1 to 1024, got 'many'" in done.stderr


def test_a_launcher_of_another_mpi_is_noticed():
    require("mpi4py")
    words = (sys.executable, "-m", "lenet_fast", "train", *OPTIONS, "--distributed", "mpi")
    done = call(words, check=False, OMPI_COMM_WORLD_SIZE="3")
    assert done.returncode == 1
    assert "ranks: expected the 3 processes of the launcher, got one" in done.stderr


def test_mixed_without_the_rest():
    done = CliRunner().invoke(group, ["train", "--distributed-mixed"])
    assert done.exit_code == 2
    assert "--distributed-mixed: expected with --distributed" in done.output
