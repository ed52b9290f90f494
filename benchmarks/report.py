"""Tables and charts of a run: python -m benchmarks.report RESULTS.json [--out DIR].

RESULTS.json is the output of ``pytest benchmarks/ --benchmark-only --benchmark-json RESULTS.json``.
The Markdown goes to standard output, or with --out to DIR/report.md, with the charts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_fast.bench import tables
from lenet_fast.bench.tables import Row, percent, table, times

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
    "Ours is a call without options. PyTorch's best is the faster of its two memory layouts. Its "
    "backward passes are timed without their forward passes, which for max pooling have already "
    "located the maxima; ours searches for them. Its Hessians are its backward passes on squares. "
    "A tanh, exp or log counts as 20 operations."
)

WAYS = ("original", "SciPy", "modified")
"""The published methods. "vectorised" is the best NumPy code we know."""
PEER = "PyTorch"


@dataclass(frozen=True)
class Run:
    """The rows of one run, and the machine it ran on."""

    rows: list[Row]
    machine: dict[str, Any]

    def limit(self, name: str) -> float | None:
        """Return the machine's peak for a dtype, or its "bandwidth", if it was probed."""
        value = self.machine.get(name)
        return float(value) if value else None


@dataclass(frozen=True)
class Line:
    """The times of all contenders for one step in one dtype."""

    name: str
    dtype: str
    rows: dict[str, Row]

    @property
    def ours(self) -> Row | None:
        """The time of a call without options; the fastest of ours if that was not measured."""
        mine = [row for row in self.rows.values() if row.info.get("backend")]
        usual = [row for row in mine if row.info.get("default")]
        return min(usual or mine, key=lambda row: row.seconds, default=None)

    @property
    def peer(self) -> Row | None:
        """PyTorch at its best."""
        return tables.fastest(self.rows, PEER)

    @property
    def ratio(self) -> float | None:
        """Our speed relative to PyTorch's best."""
        return self.peer.seconds / self.ours.seconds if self.ours and self.peer else None

    def best(self, prefix: str) -> float | None:
        """Return the fewest seconds among the contenders with this prefix."""
        found = (row.seconds for row in self.rows.values() if row.contender.startswith(prefix))
        return min(found, default=None)

    @property
    def speed(self) -> float | None:
        """Our operations per second."""
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
        If it is not a file of this suite.
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
    grouped = tables.groups(run.rows, kind, dtype)
    return [Line(name, dtype, rows) for (name, dtype), rows in grouped.items()]


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of some positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def markdown(run: Run) -> str:
    """Return the whole report."""
    parts = [
        _published(run),
        *(_steps(run, dtype) for dtype in ("float32", "float64")),
        _drop_in(run),
        _front_ends(run),
        tables.networks(run.rows, PEER),
        tables.latencies(run.rows, PEER),
    ]
    return tables.report("Benchmarks of LeNet-5's steps", run.machine, parts)


def _published(run: Run) -> str:
    """Return the table of the published steps, with the published seconds."""
    known = {line.name: line for line in lines(run, "step", "float64")}
    body = []
    for step, published in PUBLISHED.items():
        line = known.get(step)
        if line is None or line.ours is None:
            continue
        here = [line.best(way) for way in (*WAYS, "vectorised")]
        body.append(
            [
                tables.label(line.name, line.rows),
                *(f"{value:g}" if value else "" for value in published),
                *(_seconds(value) for value in here),
                _seconds(line.ours.seconds),
                times(here[2], line.ours.seconds),
                times(here[0], line.ours.seconds),
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
        f"scaled.\n\n{table(head, body)}"
    )


def _drop_in(run: Run) -> str:
    """Return the table of the notebooks' functions and the published ones."""
    body, ratios = [], []
    names = ("modified", "vectorised", "drop_in", "drop_in chained")
    for line in lines(run, "drop_in"):
        rows = [line.rows.get(name) for name in names]
        published, vectorised, ours, chained = (row.seconds if row else None for row in rows)
        body.append(
            [
                tables.label(line.name, line.rows),
                line.dtype,
                *map(_milli, (published, vectorised, ours, chained)),
                *(times(other, ours) if ours else "" for other in (published, vectorised)),
                times(published, chained) if chained else "",
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
        "order in which its functions pass them on to each other."
    )
    if ratios:
        text += (
            f" In float64 it is {sum(ratios) / len(ratios):.1f} times as fast as the published "
            f"method (mean over {len(ratios)} functions; geometric mean "
            f"{geometric_mean(ratios):.1f})."
        )
    return f"## The notebooks' functions\n\n{text}\n\n{table(head, body)}"


def _front_ends(run: Run) -> str:
    """Return the table of front ends on a whole network, and what they replace."""
    body = []
    for line in lines(run, "front end"):
        ours = next((row for row in line.rows.values() if row.info["ours"]), None)
        for other in line.rows.values():
            if ours is None or other is ours:
                continue
            body.append(
                [
                    tables.label(line.name, line.rows),
                    line.dtype,
                    *(row.contender for row in (ours, other)),
                    *(f"{row.info['images'] / row.seconds:,.0f}" for row in (ours, other)),
                    times(other.seconds, ours.seconds),
                ]
            )
    if not body:
        return ""
    head = ["work", "dtype", "by", "beside", "images/s", "beside, images/s", "times"]
    return f"## Front ends\n\n{table(head, body)}"


def _steps(run: Run, dtype: str) -> str:
    """Return the table of all steps in a dtype, and a summary of the ratios to PyTorch."""
    found = lines(run, "step", dtype)
    if not found:
        return ""
    body = []
    for line in found:
        ratio, ours = line.ratio, line.ours
        body.append(
            [
                tables.label(line.name, line.rows),
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
    return f"{title}\n\n{verdict(found)}\n\n{table(head, body)}\n\n{_NOTES}"


def verdict(found: Sequence[Line]) -> str:
    """Return the ratios to PyTorch in a sentence or two: their mean, and where we are slower."""
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


def _batch(found: Sequence[Line]) -> int:
    return int(next(iter(found[0].rows.values())).info.get("batch", 256))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _milli(value: float | None) -> str:
    return "" if value is None else f"{value * 1000:.3g}"


def main(arguments: list[str] | None = None) -> None:
    from benchmarks import charts  # it imports this module

    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON file of pytest-benchmark")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.md and charts here")
    options = parser.parse_args(arguments)
    try:
        run = read(options.results)
        text = markdown(run)
        if options.out is None:
            print(text, end="")
            return
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.md").write_text(text, encoding="utf-8")
        print(options.out / "report.md")
        for path in charts.draw(run, options.out):
            print(path)
    except (OSError, ValueError, ImportError) as error:
        raise SystemExit(f"benchmarks.report: error: {error}") from error


if __name__ == "__main__":
    main()
