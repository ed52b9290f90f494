"""Markdown tables of measurements: the machine, whole networks, and single calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MORE = " ~"
NOTE_OF_MORE = (
    "`~`: more than the measured peak, which is too low because the machine was busy. Measure "
    "again when it is idle."
)
"""Note on shares above 100 %, which no kernel can reach."""

_NETWORK_NOTES = (
    "In float32: LeNet-5 of 1998, and the plain one (all connections, average pooling, softmax, "
    "cross-entropy). Training at batch 1: contenders that need a call per step run 32 steps, and "
    "their time is scaled. The share of the peak counts the multiply-adds of convolutions, dense "
    "layers and distances only, on as many cores as there are threads."
)


@dataclass(frozen=True)
class Row:
    """The median seconds of one contender for one piece of work."""

    kind: str  # "network", "latency", and those of the benchmarks
    row: str  # "training, batch 256", "C1 forward"
    dtype: str
    contender: str
    seconds: float
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        return bool(self.info.get("peak_moved"))

    @property
    def speed(self) -> float | None:
        """Operations per second."""
        flops = self.info.get("flops")
        return flops / self.seconds if flops else None

    @property
    def share(self) -> float | None:
        """The share of the peak of the cores used, from the mean of the probes around the group."""
        probes = [self.info.get(f"peak_{when}") for when in ("before", "after")]
        known = [probe for probe in probes if probe]
        threads = self.info.get("threads", 1)
        if self.speed is None or not known or not isinstance(threads, int):
            return None
        return self.speed * len(known) / sum(known) / threads


def groups(
    rows: Sequence[Row], kind: str, dtype: str | None = None
) -> dict[tuple[str, str], dict[str, Row]]:
    """Return rows of a kind, by work and dtype, then by contender."""
    grouped: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.kind == kind and dtype in (None, row.dtype):
            grouped.setdefault((row.row, row.dtype), {})[row.contender] = row
    return grouped


def report(title: str, about: dict[str, Any], parts: Sequence[str]) -> str:
    """Return Markdown: the machine, from :func:`machine.describe`, and non-empty parts."""
    text = "\n\n".join([heading(title, about), *(part for part in parts if part)])
    if f" %{MORE}" in text:
        text += f"\n\n{NOTE_OF_MORE}"
    return text + "\n"


def heading(title: str, about: dict[str, Any]) -> str:
    """Return a title, and a description of the machine."""
    text = f"# {title}\n\n{about.get('cpu', '')}, {about.get('system', '')}"
    for key in ("versions", "date"):
        if about.get(key):
            text += f"; {about[key]}"
    text += ". Medians; the contenders took turns. One thread unless a row says otherwise. "
    if not about.get("float32"):
        return text + f"The limits of the core are unknown: {about.get('probe', 'not probed')}."
    text += (
        f"One core multiplies and adds at {about['float32'] / 1e9:.0f} Gflop/s in float32 "
        f"and {about['float64'] / 1e9:.0f} in float64"
    )
    if about.get("bandwidth"):
        text += f", and streams {about['bandwidth'] / 1e9:.1f} GB/s"
    return text + ". A `~` marks a group in which that peak changed by more than 15 %."


def networks(rows: Sequence[Row], peer: str = "") -> str:
    """Return the table of whole networks, if there were any.

    `peer`: prefix of the contenders that all are compared with; by default none.
    """
    body = []
    for (name, _), found in groups(rows, "network").items():
        best = fastest(found, peer)
        for row in sorted(found.values(), key=lambda row: row.seconds):
            images = row.info.get("images", 1)
            against = f"{best.seconds / row.seconds:.2f} x" if best else ""
            body.append(
                [
                    label(name, found),
                    row.contender,
                    str(row.info.get("threads", "")),
                    f"{images / row.seconds:,.0f}",
                    f"{row.seconds / images * 1e6:,.0f}",
                    *([against] if peer else []),
                    percent(row.share),
                ]
            )
    if not body:
        return ""
    head = ["work", "by", "threads", "images/s", "us per image"]
    notes = _NETWORK_NOTES
    if peer:
        head.append(f"against {peer}'s best")
        notes += " Ours train on bytes, the others on prepared images."
    return f"## The whole network\n\n{notes}\n\n{table([*head, 'of the peak'], body)}"


def latencies(rows: Sequence[Row], peer: str = "") -> str:
    """Return the table of single predictions, if there were any; `peer` as for networks."""
    body, calls = [], 0
    for (name, _), found in groups(rows, "latency").items():
        best = fastest(found, peer)
        for row in sorted(found.values(), key=lambda row: row.seconds):
            calls = row.info["calls"]
            body.append(
                [
                    label(name, found),
                    row.contender,
                    f"{1e6 * row.seconds:,.1f}",
                    f"{1e6 * row.info['p99']:,.1f}",
                    *([times(best.seconds if best else None, row.seconds)] if peer else []),
                ]
            )
    if not body:
        return ""
    head = ["work", "by", "median, us", "99th percentile, us"]
    head += [f"against {peer}"] if peer else []
    text = f"{calls:,} calls each, from Python, from array to array; the contenders took turns."
    return f"## The latency of one image\n\n{text}\n\n{table(head, body)}"


def fastest(rows: dict[str, Row], peer: str) -> Row | None:
    """Return the fastest contender whose name begins with `peer`; None without a peer."""
    theirs = [row for row in rows.values() if peer and row.contender.startswith(peer)]
    return min(theirs, key=lambda row: row.seconds, default=None)


def label(name: str, rows: dict[str, Row]) -> str:
    """Return the name of a group, marked if the machine's peak changed during it."""
    return f"{name} ~" if any(row.moved for row in rows.values()) else name


def percent(share: float | None) -> str:
    """Return a share as text, marked if it is impossible, empty if unknown."""
    if share is None:
        return ""
    return f"{100 * share:.0f} %{MORE if round(100 * share) > 100 else ''}"


def times(other: float | None, ours: float) -> str:
    """Return how many times as long the other took as ours; empty if unknown."""
    if other is None:
        return ""
    ratio = other / ours
    return f"{ratio:.1f} x" if ratio < 10 else f"{ratio:,.0f} x"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with numbers right-aligned, except in the first column."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))
