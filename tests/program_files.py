"""The files that are derived from lenet_fast/engines/program.py; run this to write them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, get_type_hints

from lenet_fast.engines import program

ROOT = Path(__file__).parents[1]
PXD = ROOT / "kernels" / "program.pxd"
NUMBA = ROOT / "lenet_fast" / "backends" / "numba_backend" / "program.py"

C_TYPES = {int: "Py_ssize_t", float: "double"}


def cython(
    numbers: Iterable[type[IntEnum]] = program.NUMBERS,
    records: Iterable[type[NamedTuple]] = program.RECORDS,
) -> str:
    """Return the declarations for Cython."""
    lines = ["# Derived from lenet_fast/engines/program.py, which explains it: see there."]
    for kind in numbers:
        lines += ["", "", f"cdef enum {kind.__name__}:"]
        lines += [f"    {each.name} = {each.value}" for each in kind]
    for record in records:
        lines += ["", "", f"cdef struct {record.__name__}:"]
        lines += [f"    {C_TYPES[kind]} {name}" for name, kind in get_type_hints(record).items()]
    return "\n".join(lines) + "\n"


def numba(numbers: Iterable[type[IntEnum]] = program.NUMBERS) -> str:
    """Return the numbers for Numba, which has the fields by name from the arrays themselves."""
    lines = ['"""Derived from lenet_fast/engines/program.py, which explains it: see there."""']
    for kind in numbers:
        lines += ["", f"# {kind.__name__}"]
        lines += [f"{each.name} = {each.value}" for each in kind]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PXD.write_text(cython(), encoding="utf-8")
    NUMBA.write_text(numba(), encoding="utf-8")
