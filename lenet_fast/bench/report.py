"""From measurements to Markdown: one table beside the published one, one by dtype, one of networks.

The measurements are those of ``lenet-fast bench``, or a JSON file of pytest-benchmark.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PUBLISHED: dict[str, tuple[float, float | None, float]] = {
    "C1 forward": (9.389, 0.153, 0.0571),
    "C1 backward": (16.46, None, 0.2252),
    "C3 forward": (3.335, 0.505, 0.0210),
    "C3 backward": (6.232, None, 0.2182),
    "C5 forward": (0.2652, 5.038, 0.0030),
    "C5 backward": (0.4703, None, 0.0240),
    "S2 max forward": (1.096, None, 0.0260),
    "S2 max backward": (3.500, None, 0.0450),
    "S2 average forward": (2.091, None, 0.0260),
    "S2 average backward": (2.531, None, 0.0180),
}
"""Seconds printed by the published comparison: original, SciPy, modified; batch 256, float64."""

_NOTES = (
    "Ours is what a call without options takes. PyTorch's best is the faster of its two memory "
    "layouts. Its backward passes are timed without their forward passes, and that of max pooling "
    "knows from there where the maxima are; ours looks for them. Its Hessians are its backward "
    "passes on squares. A tanh, exp or log counts as 20 operations."
)

_NETWORK_NOTES = (
    "In float32: LeNet-5 of 1998, and the plain one (all connections, average pooling, softmax, "
    "cross-entropy). Ours trains on bytes, the others on images that were prepared for them. "
    "Training at batch 1: who needs a call for each step made 32 of them, scaled. Of the peak: by "
    "the multiply-adds of convolutions, dense layers and distances alone, of so many cores as "
    "there are threads."
)

MORE = " ~"
NOTE_OF_MORE = (
    "`~`: more than the peak that was found, which is too low: the machine was busy. Measure again "
    "when it has nothing else to do."
)
"""Of a share above 100 %, which no kernel can have."""

WAYS = ("original", "SciPy", "modified")
"""The published ones. Beside them is "vectorised", what else NumPy can do."""
PEERS = "PyTorch"


@dataclass(frozen=True)
class Row:
    """The median seconds of one contender at one piece of work."""

    kind: str  # "step", "network" or "latency"
    row: str  # "C1 forward", "training, batch 256"
    dtype: str
    contender: str
    seconds: float
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        return bool(self.info.get("peak_moved"))

    @property
    def speed(self) -> float | None:
        """Operations a second."""
        flops = self.info.get("flops")
        return flops / self.seconds if flops else None

    @property
    def share(self) -> float | None:
        """The share of the peak, in the mean of the probes around the group, of the cores used."""
        probes = [self.info.get(f"peak_{when}") for when in ("before", "after")]
        known = [probe for probe in probes if probe]
        threads = self.info.get("threads", 1)
        if self.speed is None or not known or not isinstance(threads, int):
            return None
        return self.speed * len(known) / sum(known) / threads


@dataclass(frozen=True)
class Run:
    """The rows of one run, and the machine it ran on."""

    rows: list[Row]
    machine: dict[str, Any]

    def limit(self, name: str) -> float | None:
        """Return the machine's peak in a dtype, or its "bandwidth", where it was probed."""
        value = self.machine.get(name)
        return float(value) if value else None


@dataclass(frozen=True)
class Line:
    """What all contenders took for one step in one dtype."""

    name: str
    dtype: str
    rows: dict[str, Row]

    @property
    def ours(self) -> Row | None:
        """What a call without options takes; the fastest of ours where that was left out."""
        mine = [row for row in self.rows.values() if row.info.get("backend")]
        usual = [row for row in mine if row.info.get("default")]
        return min(usual or mine, key=lambda row: row.seconds, default=None)

    @property
    def peer(self) -> Row | None:
        """PyTorch at its best."""
        theirs = [row for row in self.rows.values() if row.contender.startswith(PEERS)]
        return min(theirs, key=lambda row: row.seconds, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times faster than PyTorch's best we are."""
        return self.peer.seconds / self.ours.seconds if self.ours and self.peer else None

    def best(self, prefix: str) -> float | None:
        """Return the fewest seconds of the contenders whose names begin so."""
        found = (row.seconds for row in self.rows.values() if row.contender.startswith(prefix))
        return min(found, default=None)

    @property
    def speed(self) -> float | None:
        """Our operations a second."""
        return self.ours.speed if self.ours else None

    @property
    def share(self) -> float | None:
        """Our share of the core's peak."""
        return self.ours.share if self.ours else None

    @property
    def moved(self) -> bool:
        return any(row.moved for row in self.rows.values())


def read(path: str | os.PathLike[str]) -> Run:
    """Return the run in a JSON file of pytest-benchmark.

    Raises
    ------
    ValueError
        If it is not one of this suite.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [
            Row(
                kind=info["kind"],
                row=info["row"],
                dtype=info["dtype"],
                contender=info["contender"],
                seconds=one["stats"]["median"],
                info=info,
            )
            for one in found["benchmarks"]
            for info in [one["extra_info"]]
        ]
        machine = dict(found["lenet_fast"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)}: expected results of this suite, from "
            f"pytest benchmarks/ --benchmark-only --benchmark-json FILE ({error!r})"
        ) from error
    machine.setdefault("date", str(found.get("datetime", ""))[:10])
    return Run(rows, machine)


def lines(run: Run, kind: str, dtype: str | None = None) -> list[Line]:
    """Return the lines of a kind, in the order of the run."""
    grouped: dict[tuple[str, str], dict[str, Row]] = {}
    for row in run.rows:
        if row.kind == kind and dtype in (None, row.dtype):
            grouped.setdefault((row.row, row.dtype), {})[row.contender] = row
    return [Line(name, dtype, rows) for (name, dtype), rows in grouped.items()]


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of some positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def markdown(run: Run) -> str:
    """Return the whole report."""
    parts = [_heading(run), _published(run)]
    parts += [_steps(run, dtype) for dtype in ("float32", "float64")]
    parts += [_drop_in(run), _front_ends(run), _networks(run), latencies(run)]
    text = "\n\n".join(part for part in parts if part)
    if f" %{MORE}" in text:
        text += f"\n\n{NOTE_OF_MORE}"
    return text + "\n"


def _heading(run: Run) -> str:
    machine = run.machine
    text = (
        f"# Benchmarks of LeNet-5's steps\n\n{machine.get('cpu', '')}, {machine.get('system', '')}"
    )
    for key in ("versions", "date"):
        if machine.get(key):
            text += f"; {machine[key]}"
    text += ". Medians of contenders that took turns; one thread unless a row says otherwise. "
    if run.limit("float32") is None:
        return text + f"The limits of the core are unknown: {machine.get('probe', 'not probed')}."
    text += (
        f"One core multiplies and adds at {run.machine['float32'] / 1e9:.0f} Gflop/s in float32 "
        f"and {run.machine['float64'] / 1e9:.0f} in float64"
    )
    if run.limit("bandwidth"):
        text += f", and streams {run.machine['bandwidth'] / 1e9:.1f} GB/s"
    return text + ". A `~` marks a group in which that peak moved by more than 15 %."


def _published(run: Run) -> str:
    """Return the table of the steps that were published, with the published seconds."""
    known = {line.name: line for line in lines(run, "step", "float64")}
    body = []
    for step, published in PUBLISHED.items():
        line = known.get(step)
        if line is None or line.ours is None:
            continue
        here = [line.best(way) for way in (*WAYS, "vectorised")]
        body.append(
            [
                _name(line),
                *(f"{value:g}" if value else "" for value in published),
                *(_seconds(value) for value in here),
                _seconds(line.ours.seconds),
                _times(here[2], line.ours.seconds),
                _times(here[0], line.ours.seconds),
            ]
        )
    if not body:
        return ""
    head = [
        "step",
        *(f"{way}, as printed" for way in WAYS),
        *(f"{way}, here" for way in (*WAYS, "vectorised")),
        "ours",
        "over modified",
        "over original",
    ]
    return (
        "## Beside the published comparison\n\nSeconds, batch 256, float64. The printed ones are "
        "those of another machine; original and SciPy were timed here on 2 and 8 images and "
        f"scaled.\n\n{_table(head, body)}"
    )


def _drop_in(run: Run) -> str:
    """Return the table of the notebooks' functions beside the published ones."""
    body, ratios = [], []
    names = ("modified", "vectorised", "drop_in", "drop_in chained")
    for line in lines(run, "drop_in"):
        rows = [line.rows.get(name) for name in names]
        published, vectorised, ours, chained = (row.seconds if row else None for row in rows)
        body.append(
            [
                _name(line),
                line.dtype,
                *map(_milli, (published, vectorised, ours, chained)),
                *(_times(other, ours) if ours else "" for other in (published, vectorised)),
                _times(published, chained) if chained else "",
            ]
        )
        if published and ours and line.name in PUBLISHED and line.dtype == "float64":
            ratios.append(published / ours)
    if not body:
        return ""
    head = ["function, batch 256", "dtype", *names]
    head += ["over modified", "over vectorised", "chained over modified"]
    text = (
        "Milliseconds of `lenet_fast.drop_in`, with images in C order, and chained: in the memory "
        "order in which its functions hand them on to each other."
    )
    if ratios:
        text += (
            f" In float64 it is {sum(ratios) / len(ratios):.1f} times as fast as the published "
            f"way in the mean of {len(ratios)} published functions, {geometric_mean(ratios):.1f} "
            "times in the geometric mean."
        )
    return f"## The notebooks' functions\n\n{text}\n\n{_table(head, body)}"


def _front_ends(run: Run) -> str:
    """Return the table of what front ends do with a whole network, and others in their place."""
    body = []
    for line in lines(run, "front end"):
        ours = next((row for row in line.rows.values() if row.info["ours"]), None)
        for other in line.rows.values():
            if ours is None or other is ours:
                continue
            body.append(
                [
                    _name(line),
                    line.dtype,
                    *(row.contender for row in (ours, other)),
                    *(f"{row.info['images'] / row.seconds:,.0f}" for row in (ours, other)),
                    _times(other.seconds, ours.seconds),
                ]
            )
    if not body:
        return ""
    head = ["work", "dtype", "by", "beside", "images/s", "beside, images/s", "times"]
    return f"## Front ends\n\n{_table(head, body)}"


def _steps(run: Run, dtype: str) -> str:
    """Return the table of all steps in a dtype, and the ratios to PyTorch in short."""
    found = lines(run, "step", dtype)
    if not found:
        return ""
    body = []
    for line in found:
        ratio, ours = line.ratio, line.ours
        body.append(
            [
                _name(line),
                _milli(ours.seconds if ours else None),
                ours.contender if ours else "",
                _milli(line.best("numba")),
                _milli(line.best("numpy")),
                _milli(line.peer.seconds if line.peer else None),
                "" if ratio is None else f"{ratio:.2f} x" if ratio >= 1 else f"**{ratio:.2f} x**",
                "" if line.speed is None else f"{line.speed / 1e9:.1f}",
                percent(line.share),
            ]
        )
    head = [
        *("step", "ours, ms", "which", "numba, ms", "numpy, ms", "PyTorch's best, ms"),
        *("against PyTorch", "Gflop/s", "of the peak"),
    ]
    title = f"## {dtype}, batch {_batch(found)}"
    return f"{title}\n\n{verdict(found)}\n\n{_table(head, body)}\n\n{_NOTES}"


def verdict(found: Sequence[Line]) -> str:
    """Return the ratios to PyTorch in a sentence or two: their mean, and where we lose."""
    ratios = {line.name: line.ratio for line in found if line.ratio is not None}
    if not ratios:
        return "PyTorch is not installed here, so there is nothing to compare with."
    mean = geometric_mean(list(ratios.values()))
    text = f"{mean:.2f} times PyTorch's best in the geometric mean of {len(ratios)} steps. "
    lost = {name: ratio for name, ratio in ratios.items() if ratio < 1}
    if not lost:
        return text + "No step is slower."
    names = ", ".join(f"{name} ({ratio:.2f})" for name, ratio in lost.items())
    return text + f"Slower, in bold: {names}."


def _networks(run: Run) -> str:
    found = lines(run, "network")
    if not found:
        return ""
    body = []
    for line in found:
        for row in sorted(line.rows.values(), key=lambda row: row.seconds):
            images = row.info.get("images", 1)
            against = line.peer.seconds / row.seconds if line.peer else None
            body.append(
                [
                    _name(line),
                    row.contender,
                    str(row.info.get("threads", "")),
                    f"{images / row.seconds:,.0f}",
                    f"{row.seconds / images * 1e6:,.0f}",
                    "" if against is None else f"{against:.2f} x",
                    percent(row.share),
                ]
            )
    head = [
        *("work", "by", "threads", "images/s", "us an image", "against PyTorch's best"),
        "of the peak",
    ]
    return f"## The whole network\n\n{_NETWORK_NOTES}\n\n{_table(head, body)}"


def latencies(run: Run) -> str:
    """Return the table of single predictions, if there were any."""
    body, calls = [], 0
    for line in lines(run, "latency"):
        for row in sorted(line.rows.values(), key=lambda row: row.seconds):
            calls = row.info["calls"]
            body.append(
                [
                    _name(line),
                    row.contender,
                    f"{1e6 * row.seconds:,.1f}",
                    f"{1e6 * row.info['p99']:,.1f}",
                    _times(line.peer.seconds if line.peer else None, row.seconds),
                ]
            )
    if not body:
        return ""
    head = ["work", "by", "median, us", "99th percentile, us", "against PyTorch"]
    text = f"Of {calls:,} calls each, from Python and from array to array; contenders took turns."
    return f"## The latency of one image\n\n{text}\n\n{_table(head, body)}"


def percent(share: float | None) -> str:
    """Return a share as text, marked where it cannot be, or nothing where it is unknown."""
    if share is None:
        return ""
    return f"{100 * share:.0f} %{MORE if round(100 * share) > 100 else ''}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def _name(line: Line) -> str:
    return f"{line.name} ~" if line.moved else line.name


def _batch(found: Sequence[Line]) -> int:
    return int(next(iter(found[0].rows.values())).info.get("batch", 256))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _times(other: float | None, ours: float) -> str:
    if other is None:
        return ""
    ratio = other / ours
    return f"{ratio:.1f} x" if ratio < 10 else f"{ratio:,.0f} x"


def _milli(value: float | None) -> str:
    return "" if value is None else f"{value * 1000:.3g}"
