"""The time of an engine by layer and direction, compared with the core's peak."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from lenet_fast import backends, choices, counts
from lenet_fast.bench import machine, rounds, workloads
from lenet_fast.bench.rounds import Contender, WrongAnswerError
from lenet_fast.bench.tables import MORE, NOTE_OF_MORE, Row, percent
from lenet_fast.checks import Array
from lenet_fast.engines import LanesEngine, OnlineEngine, Unsupported

IMAGES = 256
"""In a call of either engine: one batch, or as many of one."""


_TRIES = 3
"""Measurements of a network, if some of its layers seem to exceed the core's peak."""


class _Kind(NamedTuple):
    """The differences between the engines."""

    make: type[LanesEngine]
    batch: int
    directions: tuple[str, str, str]
    works: tuple[str, str]
    note: str


_BEGINNING = (
    "us: microseconds per image. madds: multiply-adds per image, of convolutions, dense layers\n"
    "and distances. peak: their share of what the core could do in that time. "
)
_KINDS = {
    "lanes": _Kind(
        LanesEngine,
        IMAGES,
        ("forward", "to the input", "to the weights"),
        ("training, batch 256", "evaluation, batch 1000"),
        f"{_BEGINNING}Reading the images,\nthe loss (with the way back through an RBF layer) "
        "and the update are only in the last lines. With Cython's kernels, an activation counts\n"
        "with the pooling behind it.",
    ),
    "online": _Kind(
        OnlineEngine,
        1,
        ("forward", "back", "to the weights"),
        ("training, batch 1", "one image"),
        f"{_BEGINNING}The weights are updated\nas soon as their gradient is computed, which is "
        'part of "to the weights"; dense layers do\nall of it on the way back. Reading the '
        "images and the loss are only in the last lines.",
    ),
}
ENGINES = tuple(_KINDS)


@dataclass(frozen=True)
class Profile:
    """The measurements of one network.

    Arrays are (layers, 3): forward, to the input, to the weights. If the last is 0, the online
    engine does both directions at once.
    """

    network: str  # one of workloads.NETWORKS
    engine: str  # a description of the one that ran
    kind: str  # one of ENGINES
    layers: tuple[str, ...]
    seconds: Array  # per image
    counts: Array  # multiply-adds per image
    peak: float | None  # operations/s of one core: the largest of several probes in between
    whole: tuple[Row, ...]  # training and evaluation, or prediction
    isa: str | None = None  # the instruction set of the kernels and of that peak; None: the widest


def measure(
    network: str,
    backend: choices.Backend | None = None,
    seconds: float = 0.05,
    engine: str = "lanes",
) -> Profile:
    """Profile one of the NETWORKS on one thread, each layer for at least `seconds`.

    Unsupported if the backend has no kernels for the engine; WrongAnswerError if the engine trains
    or predicts differently from the reference.
    """
    backend = backends.current() if backend is None else backend
    kind = _KINDS[engine]
    if not workloads.has_engine(engine, backend):
        raise Unsupported(
            f"backend: expected one with kernels for the {engine} engine, got {backend}"
        )
    start = workloads.fresh(network, kind.batch)
    runs = kind.make(start.network, start.loss, backend=backend, threads=1)
    images, _, labels = workloads.examples(IMAGES)
    taken: list[Array] = []

    def check(value: Array) -> None:
        taken.clear()  # the warm-up does not count
        if not (np.isfinite(value).all() and value.sum() > 0):
            raise WrongAnswerError(f"profile: expected seconds, got {value}")

    def run() -> Array:
        taken.append(runs.profile(images, labels))
        return taken[-1]

    prefix = "" if network == "1998" else f"{network}: "
    works = {name: workloads.BY_NAME[f"{prefix}{name}"] for name in kind.works}
    # On a busy machine one probe may find less than the kernels get, so they take turns.
    module = backends.get(backend)
    isa = module.isa() if hasattr(module, "isa") else None
    probes: list[machine.Limits | None] = []
    others = [Contender("profile", run, check)]
    if machine.missing() is None:
        others.append(
            Contender("peak", lambda: probes.append(machine.probe(isa=isa)), lambda _: None)
        )
    counted = np.array(counts.by_layer(start.network))
    for _ in range(_TRIES):
        made = [  # anew, because training goes on where it was; names must differ within a group
            dataclasses.replace(workloads.make(f"{engine} {backend}", work, 1), name=name)
            for name, work in works.items()
        ]
        group = rounds.measure([*made, *others], seconds * len(start.network.layers))
        for timing in group.timings.values():
            if timing.error is not None:
                raise timing.error
        peak = max((probe.float32 for probe in probes if probe), default=None)
        spent = np.median(taken, axis=0) / IMAGES
        fused = (spent[:, 2] == 0) & (spent[:, 1] > 0)
        counted[fused, 1] += counted[fused, 2]
        counted[fused, 2] = 0
        if peak is None or not np.any((spent > 0) & (2 * counted > peak * spent)):
            break  # else the machine was busy during all probes
    return Profile(
        network=network,
        engine=f"{backend}, {backends.get(backend).describe()}",
        kind=engine,
        layers=tuple(layer.name for layer in start.network.layers),
        seconds=spent,
        counts=counted,
        peak=peak,
        whole=tuple(_row(engine, name, work, group, peak) for name, work in works.items()),
        isa=isa,
    )


def _row(
    engine: str, name: str, work: workloads.Work, group: rounds.Group, peak: float | None
) -> Row:
    info = {"images": work.images, "flops": work.flops, **group.info("float32")}
    info |= {"peak_before": peak, "peak_after": peak}
    return Row("network", name, "float32", engine, median(group.timings[name].samples), info)


def markdown(profiles: list[Profile]) -> str:
    """Return tables of profiles with explanations, one engine after the other."""
    parts = []
    for kind in ENGINES:
        found = [profile for profile in profiles if profile.kind == kind]
        if found:
            parts += [*map(_one, found), _KINDS[kind].note, ""]
    return "\n".join(parts)


def _one(profile: Profile) -> str:
    names = (*profile.layers, "all")
    seconds, counted = (
        np.vstack([table, table.sum(axis=0)]) for table in (profile.seconds, profile.counts)
    )
    head = ([f"{name}, us", "madds", "peak"] for name in _KINDS[profile.kind].directions)
    rows = [["layer", *itertools.chain(*head)]]
    for name, times, numbers in zip(names, seconds, counted, strict=True):
        cells = (_cells(*cell, profile.peak) for cell in zip(times, numbers, strict=True))
        rows.append([name, *itertools.chain(*cells)])
    time, count, share = _cells(seconds[-1].sum(), counted[-1].sum(), profile.peak)
    peak = f"unknown, {machine.missing() or 'not probed'}"
    if profile.peak is not None:
        peak = f"{profile.peak / 1e9:.0f} Gflop/s"
        if profile.isa is not None:
            peak += f" with {profile.isa}"
        peak += ", which changed by more than 15 %" * profile.whole[0].moved
    name = "LeNet-5 of 1998" if profile.network == "1998" else f"The {profile.network} LeNet-5"
    title = "lane" if profile.kind == "lanes" else profile.kind
    about = (
        f"The {title} engine in training, one thread, batch {_KINDS[profile.kind].batch}, "
        f"float32: {profile.engine}."
    )
    whole = (f"all layers: {time} us, {count} madds{_of_peak(share)}", *map(_whole, profile.whole))
    lines = [f"## {name}", "", about, f"Peak of the core: {peak}.", "", *_aligned(rows), "", *whole]
    if any(MORE in line for line in lines):
        lines += ["", NOTE_OF_MORE]
    return "\n".join([*lines, ""])


def _cells(seconds: float, multiply_adds: int, peak: float | None) -> list[str]:
    """Return microseconds, multiply-adds and share of the peak; empty where there are none."""
    share = 2 * multiply_adds / seconds / peak if peak and seconds and multiply_adds else None
    return [
        f"{1e6 * seconds:.2f}" if seconds else "",
        f"{multiply_adds:,}" if multiply_adds else "",
        percent(share),
    ]


def _of_peak(share: str) -> str:
    return f", {share} of the peak" if share else ""


def _whole(row: Row) -> str:
    images = row.info["images"]
    return (
        f"{row.row}: {images / row.seconds:,.0f} images/s, {1e6 * row.seconds / images:.2f} us, "
        f"{row.info['flops'] // images // 2:,} madds{_of_peak(percent(row.share))}"
    )


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return a Markdown table whose source is aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    found = []
    for first, *others in (rows[0], rule, *rows[1:]):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        found.append(f"| {' | '.join([first.ljust(widths[0]), *cells])} |")
    return found
