"""The machine's limits: multiply-adds of one core, and memory bandwidth.

A small C program measures them, so that the figures are the hardware's and not a library's. They
are measured again around every group, because other users of the machine change them.
"""

from __future__ import annotations

import atexit
import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lenet_fast import __version__

MOVED = 0.15
"""Reports mark groups during which the peak changed by more than this share."""

_SECONDS = 0.002
"""Seconds per attempt. A busy machine gives a program a few milliseconds at a time: a longer
attempt would be interrupted, and find a lower peak than the kernels, whose runs are as short."""
_REPEATS, _MEMORY_REPEATS = 30, 9

_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Twelve sums that do not wait for one another hide the latency of two units; they begin
   unlike one another, or the compiler would keep only one. It must not know x and y, either:
   1 * 0.999 + 0.001 is 1, and the sum that begins with 1 would never be computed. */
#define FMA(NAME, REAL)                                                                   \
    typedef REAL NAME##_vector __attribute__((vector_size(WIDTH)));                       \
    static double NAME(double seconds) {                                                  \
        enum { LANES = WIDTH / sizeof(REAL), TURNS = 20000 };                             \
        NAME##_vector s0 = {0}, s1 = s0 + 1, s2 = s0 + 2, s3 = s0 + 3, s4 = s0 + 4,       \
                      s5 = s0 + 5, s6 = s0 + 6, s7 = s0 + 7, s8 = s0 + 8, s9 = s0 + 9,    \
                      sa = s0 + 10, sb = s0 + 11;                                         \
        volatile REAL factor = (REAL)0.999, term = (REAL)0.001, sink;                     \
        NAME##_vector x = s0 + factor, y = s0 + term;                                     \
        double begin = now(), end, operations = 0;                                        \
        do {                                                                              \
            for (int i = 0; i < TURNS; i++) {                                             \
                s0 = s0 * x + y; s1 = s1 * x + y; s2 = s2 * x + y; s3 = s3 * x + y;       \
                s4 = s4 * x + y; s5 = s5 * x + y; s6 = s6 * x + y; s7 = s7 * x + y;       \
                s8 = s8 * x + y; s9 = s9 * x + y; sa = sa * x + y; sb = sb * x + y;       \
            }                                                                             \
            operations += 2.0 * 12 * LANES * TURNS;                                       \
            end = now();                                                                  \
        } while (end - begin < seconds);                                                  \
        s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + sa + sb;                       \
        sink = s0[0];                                                                     \
        (void)sink;                                                                       \
        return operations / (end - begin);                                                \
    }
FMA(peak32, float)
FMA(peak64, double)

/* a = b + s * c over arrays that no cache holds: two reads and a write. */
static double bandwidth(double seconds) {
    enum { N = 8 * 1024 * 1024 };
    double *a = malloc(sizeof *a * N), *b = malloc(sizeof *b * N), *c = malloc(sizeof *c * N);
    if (!a || !b || !c) return 0;
    for (int i = 0; i < N; i++) { a[i] = 0; b[i] = i; c[i] = 1; }
    double begin = now(), end, bytes = 0;
    volatile double sink;
    do {
        for (int i = 0; i < N; i++) a[i] = b[i] + 3 * c[i];
        sink = a[(int)bytes % N];
        bytes += 3.0 * sizeof *a * N;
        end = now();
    } while (end - begin < seconds);
    (void)sink;
    free(a); free(b); free(c);
    return bytes / (end - begin);
}

int main(int argc, char **argv) {
    double seconds = atof(argv[1]), best32 = 0, best64 = 0, best = 0, value;
    int repeats = atoi(argv[2]), memory = atoi(argv[3]);
    for (int i = 0; i < repeats; i++) {
        if ((value = peak32(seconds)) > best32) best32 = value;
        if ((value = peak64(seconds)) > best64) best64 = value;
    }
    for (int i = 0; i < memory; i++)
        if ((value = bandwidth(10 * seconds)) > best) best = value;
    printf("%.6g %.6g %.6g\n", best32, best64, best);
    return 0;
}
"""


@dataclass(frozen=True)
class Limits:
    """Limits of one core: operations/s by dtype (a multiply-add counts as two), and bytes/s."""

    float32: float
    float64: float
    bandwidth: float = 0.0

    def peak(self, dtype: str) -> float:
        """Return the operations per second for a dtype."""
        return self.float32 if dtype == "float32" else self.float64


def _flags() -> dict[str, tuple[list[str], int]]:
    """Return compiler flags and bytes per vector by instruction set, the widest that this CPU may
    have first.
    """
    found: dict[str, tuple[list[str], int]] = {}
    if platform.machine().lower() in ("x86_64", "amd64"):
        words = _cpuinfo().split()
        if "avx512f" in words:
            found["avx512"] = ["-mavx512f", "-mfma", "-mprefer-vector-width=512"], 64
        if "avx2" in words and "fma" in words:
            found["avx2"] = ["-mavx2", "-mfma"], 32
    return {**found, "baseline": ([], 16)}


def _cpuinfo() -> str:
    """Return what Linux says of the CPU; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _compiling(isa: str) -> list[str]:
    """Return the command that compiles the probe, without its files."""
    flags, width = _flags()[isa]
    return [*shlex.split(os.environ.get("CC", "cc")), "-O2", f"-DWIDTH={width}", *flags]


@functools.cache
def _program(isa: str | None = None) -> tuple[Path | None, str]:
    """Compile the probe, for an instruction set or the widest; return its path, or None and why."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        return None, "no C compiler found (cc, or that of CC)"
    folder = tempfile.mkdtemp(prefix="lenet-fast-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source, program = Path(folder, "probe.c"), Path(folder, "probe")
    source.write_text(_SOURCE)
    why = "no flags to try"
    for each in [isa] if isa else _flags():
        command = [*_compiling(each), str(source), "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return program, ""
        why = (done.stderr.strip().splitlines() or ["the compiler failed"])[-1]
    return None, f"the C compiler failed: {why}"


def missing() -> str | None:
    """Return why the probe is unavailable, or None."""
    return _program()[1] or None


def probe(memory: bool = False, isa: str | None = None) -> Limits | None:
    """Return one core's limits with an instruction set of the CPU, by default the widest; the
    bandwidth only if `memory`. None without a C compiler.
    """
    program = _program(isa)[0]
    if program is None:
        return None
    tries = str(_REPEATS), str(_MEMORY_REPEATS if memory else 0)
    command = [str(program), str(_SECONDS), *tries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return Limits(*map(float, done.stdout.split()))


def moved(before: Limits | None, after: Limits | None, dtype: str) -> bool:
    """Return whether the peak changed too much between two probes for a group to be reliable."""
    if before is None or after is None:
        return False
    first, second = before.peak(dtype), after.peak(dtype)
    return abs(first - second) > MOVED * max(first, second)


def describe() -> dict[str, Any]:
    """Return a description of the machine for reports: identity, limits, and versions."""
    named = re.search("^model name.*?:(.*)", _cpuinfo(), re.MULTILINE)
    name = named[1].strip() if named else platform.processor() or platform.machine()
    limits = probe(memory=True)
    return {
        "cpu": name,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": f"lenet_fast {__version__}, NumPy {np.__version__}",
        "date": time.strftime("%Y-%m-%d"),
        "probe": missing() or "compiled",
        **{key: getattr(limits, key, None) for key in ("float32", "float64", "bandwidth")},
    }
