"""Exports as files: programs in C, and weights and activations for test benches."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lenet_fast import checks, disk, locks
from lenet_fast.checks import Array
from lenet_fast.export.c_fixed import FixedProgram
from lenet_fast.export.c_program import Program
from lenet_fast.export.c_text import declaration
from lenet_fast.export.fixed import FixedStage, Quantised
from lenet_fast.export.stages import Constant, centred, values_of_bytes
from lenet_fast.network import Network

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class Exported(NamedTuple):
    """What was written.

    Attributes
    ----------
    files : tuple of Path
    flash : int
        Bytes of weights and tables.
    ram : int
        Bytes of the two buffers that the layers read and write in turns.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import export, models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export.to_c(models.lenet1989(), folder).ram  # 256 and 768 floats
    4096
    """

    files: tuple[Path, ...]
    flash: int
    ram: int


def to_c(
    network: Network | Quantised,
    out: str | os.PathLike[str],
    *,
    name: str = "lenet",
    overwrite: bool = False,
) -> Exported:
    """Write a network as a program in C99, NAME.c and NAME.h.

    Parameters
    ----------
    network : Network or Quantised
        With any layers of :mod:`lenet_fast.layers`. A network becomes a program in float, whatever
        its dtype; the result of :func:`quantise` one in integers.
    out : path
        Folder for the two files; it is created if it is missing.
    name : str
        Of the files; the public functions are NAME_classify and NAME_run.
    overwrite : bool
        Whether files that exist are replaced.

    Returns
    -------
    Exported

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or the network has other layers, parameters that are
        not finite, more than four millions of them, or no known pixel range.
    FileExistsError
        If one of the files exists.
    OSError
        If they cannot be written.

    Notes
    -----
    The program allocates no memory. In float it calls tanhf, expf, expm1f or erff of libm; with
    -DNAME_NO_LIBM it has its own, wrong by 5e-7 at most. With -DNAME_MAIN it has a main.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import export, models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = export.to_c(models.lenet1(), folder)
    ...     [file.name for file in done.files], done.flash, done.ram
    (['lenet.c', 'lenet.h'], 10345, 12352)
    """
    program = _program(network, name)
    texts = {f"{name}.c": program.source(), f"{name}.h": program.header()}
    return _write(out, texts, overwrite, program)


def to_headers(
    network: Network | Quantised,
    out: str | os.PathLike[str],
    image: Array,
    *,
    name: str = "lenet",
    overwrite: bool = False,
) -> Exported:
    """Write weights, and what every layer makes of an image, as arrays of C.

    Parameters
    ----------
    network, out, name, overwrite
        As for :func:`to_c`; the files are NAME_weights.h and NAME_digit.h.
    image : ndarray of uint8
        (rows, columns), or (c, h, w) for a network with several input maps.

    Returns
    -------
    Exported

    Raises
    ------
    TypeError, ValueError, OSError
        As from :func:`to_c`; also if the image does not fit the network.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet_fast import data, export, models
    >>> image = data.load("sample").test.images[0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export.to_headers(models.lenet1(), folder, image)
    ...     text = Path(folder, "lenet_digit.h").read_text()
    >>> "static const float H1_y[4][24][24] =" in text
    True
    """
    program = _program(network, name)
    texts = {}
    parts = {"weights": _weights(program), "digit": _activations(network, image)}
    for part, constants in parts.items():
        guard = f"{name}_{part}_h".upper()
        arrays = "\n".join(map(declaration, constants))
        head = f"/* {name}: {part}; written by lenet_fast */\n#ifndef {guard}\n#define {guard}\n\n"
        texts[f"{name}_{part}.h"] = f"{head}#include <stdint.h>\n\n{arrays}\n#endif\n"
    return _write(out, texts, overwrite, program)


def to_mem(
    network: Network | Quantised,
    out: str | os.PathLike[str],
    image: Array,
    *,
    name: str = "lenet",
    overwrite: bool = False,
) -> Exported:
    """Write the arrays of :func:`to_headers` for Verilog's ``$readmemh``, a file each.

    A file has a number in hexadecimal digits per line, in the order of C: integers in two's
    complement, floats as the bits of IEEE 754. NAME.txt lists the arrays with shapes and types.

    Parameters
    ----------
    network, out, image, name, overwrite
        As for :func:`to_headers`.

    Returns
    -------
    Exported

    Raises
    ------
    TypeError, ValueError, OSError
        As from :func:`to_headers`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet_fast import data, export, models
    >>> images = data.load("sample").train.images
    >>> quantised = export.quantise(models.lenet1(), images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export.to_mem(quantised, folder, images[0])
    ...     print(*Path(folder, "H1_w.mem").read_text().split("\\n")[:3], sep="\\n")
    // H1_w: int8 4x1x5x5, weights
    db
    e5
    """
    program = _program(network, name)
    arrays = [*_weights(program), *_activations(network, image)]
    texts = {f"{each.name}.mem": _hexadecimal(each) for each in arrays}
    texts[f"{name}.txt"] = "\n".join(map(_described, arrays)) + "\n"
    return _write(out, texts, overwrite, program)


def to_npz(
    network: Network | Quantised,
    out: str | os.PathLike[str],
    image: Array,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write the arrays of :func:`to_headers` to a file that NumPy's ``load`` reads.

    Parameters
    ----------
    network, image, overwrite
        As for :func:`to_headers`.
    out : path
        The file, such as "lenet.npz".

    Returns
    -------
    Exported

    Raises
    ------
    TypeError, ValueError, OSError
        As from :func:`to_headers`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from lenet_fast import data, export, models
    >>> image = data.load("sample").test.images[0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export.to_npz(models.lenet1(), f"{folder}/lenet.npz", image)
    ...     with np.load(f"{folder}/lenet.npz") as arrays:
    ...         arrays["H1_w"].shape, arrays["OUTPUT_y"].shape
    ((4, 1, 5, 5), (10,))
    """
    program = _program(network, "lenet")
    arrays = {each.name: each.array for each in (*_weights(program), *_activations(network, image))}
    path = checks.path("out", out)
    if path.suffix != ".npz":
        raise ValueError(f"out: expected a name that ends in .npz, got {path}")
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return _write(path.parent, {path.name: content.getvalue()}, overwrite, program)


def _program(network: Network | Quantised, name: str) -> Program:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        what = checks.quoted(name) if isinstance(name, str) else checks.kind(name)
        raise ValueError(f"name: expected a letter and up to 63 letters, digits or _, got {what}")
    if isinstance(network, Quantised):
        return FixedProgram(network, name)
    return Program(network, name)


def _write(
    out: str | os.PathLike[str],
    contents: Mapping[str, str | bytes],
    overwrite: bool,
    program: Program,
) -> Exported:
    folder = checks.path("out", out)
    files = check_free(folder, contents, checks.flag("overwrite", overwrite))
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in zip(files, contents.values(), strict=True):
        disk.write_atomic(path, content.encode() if isinstance(content, str) else content)
    return Exported(files, program.flash, program.ram)


def check_free(folder: Path, names: Mapping[str, object], overwrite: bool) -> tuple[Path, ...]:
    """Return the paths of files that are to be written; an error if the folder cannot be there, or
    one of them exists and must not be replaced."""
    if (obstacle := locks.in_the_way(folder)) is not None:
        raise ValueError(f"out: expected a folder, got {obstacle}")
    files = tuple(folder / name for name in names)
    for path in files:
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError(
                f"out: {path} exists; overwrite=True, or --overwrite in a shell, replaces it"
            )
    return files


# --- what test benches read ----------------------------------------------------------------------


def _weights(program: Program) -> Iterator[Constant]:
    """Yield the constants of a program; of one in integers, also those that are numbers in its
    text."""
    yield from program.constants()
    for stage in program.stages:
        if not isinstance(stage, FixedStage):
            continue
        if isinstance(stage.shift, int):
            yield _single(f"{stage.name}_shift", stage.shift, "digits that every sum loses")
        yield _single(f"{stage.name}_point", stage.target, "outputs are times 2^point")


def _single(name: str, number: int, meaning: str) -> Constant:
    return Constant(name, np.array([number], np.int8), meaning)


def _activations(network: Network | Quantised, image: Array) -> Iterator[Constant]:
    """Yield the input for an image, and the sums and outputs of every layer."""
    of_network = network.network if isinstance(network, Quantised) else network
    one = centred(
        of_network, image[np.newaxis] if isinstance(image, np.ndarray) else image, "image"
    )
    if isinstance(network, Quantised):
        yield from _fixed_activations(network, one)
        return
    x = values_of_bytes(network).astype(network.dtype)[one]
    yield Constant("image", x[0].astype(np.float32), "the input")
    y = network.activations(x)
    program = Program(network, "lenet")
    for stage in program.stages:
        layer = stage.layer
        if layer is not None and stage.activation is not None:
            sums = y[layer.name][0].astype(np.float32)
            yield Constant(f"{stage.name}_sum", sums, "before the activation")
        named = stage.activation or layer
        yield Constant(f"{stage.name}_y", y[named.name][0].astype(np.float32), "outputs")


def _fixed_activations(quantised: Quantised, image: Array) -> Iterator[Constant]:
    x = quantised.prepare(image)[0].astype(quantised.values)
    yield Constant("image", x, f"the input, times 2^{quantised.point}")
    for stage, sums, y in quantised.steps(image):
        last = stage is quantised.stages[-1]
        yield Constant(f"{stage.name}_sum", sums[0].astype(np.int32), "before shift and activation")
        kind = "int32" if last else quantised.values
        yield Constant(f"{stage.name}_y", y[0].astype(kind), f"outputs, times 2^{stage.target}")


def _hexadecimal(constant: Constant) -> str:
    array = np.ascontiguousarray(constant.array)
    digits = 2 * array.itemsize
    bits = array.reshape(-1).view(f"uint{8 * array.itemsize}")
    return "\n".join([f"// {_described(constant)}", *(f"{each:0{digits}x}" for each in bits), ""])


def _described(constant: Constant) -> str:
    shape = "x".join(map(str, constant.array.shape))
    return f"{constant.name}: {constant.array.dtype} {shape}, {constant.meaning}"
