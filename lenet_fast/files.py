"""Model files.

Files are in the safetensors format, not pickles: reading one runs no code. The metadata hold the
kind of file, versions, the architecture, and a SHA-256 over these and every array. So a file that
was truncated, altered or written by another program is recognised.

Examples
--------
>>> import tempfile
>>> import lenet_fast as lf
>>> network = lf.models.lenet5()
>>> with tempfile.TemporaryDirectory() as folder:
...     network.save(f"{folder}/lenet5.safetensors")
...     print(lf.load(f"{folder}/lenet5.safetensors").counts().parameters)
60000
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lenet_fast import checks, disk, initialisers, losses
from lenet_fast.checks import Array
from lenet_fast.errors import FileFormatError
from lenet_fast.network import Network

__all__ = ["MAX_BYTES", "SavedModel", "load_model", "read_model", "save_model"]

FORMAT_VERSION = 1
_KEY = "lenet_fast"
MODEL = "model.safetensors"
"""The model file in a run's folder: the network after the epoch with the fewest test errors."""

MAX_BYTES = 2**30
"""Larger files are neither read nor written; LeNet-5 takes about 250,000 bytes."""

MAX_HEADER_BYTES = {"model": 2**20, "checkpoint": 2**24}
"""Longest header by kind of file; that of LeNet-5 takes about 6,000 bytes, plus 300 per epoch in a
checkpoint."""

MAX_ARRAYS = 2**14
"""Largest number of arrays; a checkpoint of 1,000 layers can have up to 10,000."""

# Errors that a wrong header causes; KeyError: a dtype that NumPy lacks.
_NO_HEADER = (KeyError, ValueError, TypeError, AttributeError, RecursionError)


class SavedModel(NamedTuple):
    """The content of a model file.

    Attributes
    ----------
    network : Network
    loss : Loss or None
        The loss that the network was trained with.
    extra : dict
        The `extra` of :func:`save_model`.
    library_version : str
        The version of lenet_fast that wrote the file.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import files, losses, models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files.save_model(f"{folder}/lenet5", models.lenet5(), losses.MAP(j=10), {"seed": 0})
    ...     saved = files.read_model(f"{folder}/lenet5")
    >>> saved.network.counts().parameters, saved.loss, saved.extra
    (60000, MAP(j=10.0), {'seed': 0})
    """

    network: Network
    loss: losses.Loss | None
    extra: dict[str, Any]
    library_version: str


def save_model(
    path: str | os.PathLike[str],
    network: Network,
    loss: losses.Loss | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Save a network, and the loss it was trained with, to a model file.

    Parameters
    ----------
    path : path
        The file; an existing one is replaced.
    network : Network
        Its architecture and all its arrays are saved.
    loss : Loss, optional
        One of :mod:`lenet_fast.losses`.
    extra : mapping, optional
        Data that JSON can hold; :func:`read_model` returns it.

    Raises
    ------
    ValueError
        If a parameter is not finite, because such a file could not be loaded.
    OSError
        If the file cannot be written.

    Notes
    -----
    The same network, loss and extra give the same bytes with the same version.

    Examples
    --------
    >>> import os, tempfile
    >>> from lenet_fast import files, models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     files.save_model(path, models.lenet5())
    ...     files.load_model(path).counts().parameters
    60000
    """
    write_model(path, network, loss, extra)


def write_model(
    path: str | os.PathLike[str],
    network: Network,
    loss: losses.Loss | None = None,
    extra: Mapping[str, Any] | None = None,
    *,
    beside: str | os.PathLike[str] | None = None,
) -> None:
    """Like :func:`save_model`, optionally `beside` the other files of a run."""
    checks.pathlike("path", path)
    check_finite(network)
    metadata = {
        "network": network.config(),
        "loss": None if loss is None else loss.config(),
        "extra": dict(extra or {}),
    }
    write_tensors(path, "model", network.parameters, metadata, beside=beside)


def check_finite(network: Network) -> None:
    """Raise ValueError if a parameter is NaN or infinite, because it could not be loaded again."""
    for name, array in network.parameters.items():
        if not np.isfinite(array).all():
            raise ValueError(f"network: expected finite parameters, got NaN or infinity in {name}")


def load_model(path: str | os.PathLike[str]) -> Network:
    """Load the network of a model file; :func:`~lenet_fast.files.read_model` also returns the rest.

    Parameters
    ----------
    path : path
        A file written by :func:`~lenet_fast.files.save_model`, or the folder of a run with its
        ``model.safetensors``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is not a model file, was truncated or altered, or is a folder without one; the
        message says which.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import files, models
    >>> network = models.lenet5(seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files.save_model(f"{folder}/lenet5", network)
    ...     loaded = files.load_model(f"{folder}/lenet5")
    >>> bool((loaded.parameters["C1.w"] == network.parameters["C1.w"]).all())
    True
    """
    return read_model(path).network


def read_model(path: str | os.PathLike[str]) -> SavedModel:
    """Load everything in a model file: network, loss (or None), extra and version.

    Raises as :func:`load_model` does.

    Examples
    --------
    >>> import tempfile
    >>> import lenet_fast
    >>> from lenet_fast import files, models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files.save_model(f"{folder}/lenet5", models.lenet5())
    ...     saved = files.read_model(f"{folder}/lenet5")
    >>> saved.loss is None, saved.library_version == lenet_fast.__version__
    (True, True)
    """
    checks.pathlike("path", path)
    if not os.path.lexists(path):
        raise FileNotFoundError(
            f"path: expected a model file or the folder of a run, but there is no {path}"
        )
    if os.path.isdir(path):
        folder, path = path, os.path.join(path, MODEL)
        if not os.path.exists(path):
            raise FileFormatError(
                f"{folder}: expected a model file or a run's folder, got a folder without a {MODEL}"
            )
    tensors, metadata = read_tensors(path, "model")
    network = build_network(path, metadata.get("network"), tensors)
    loss = build(path, "loss", losses.from_config, metadata.get("loss"), optional=True)
    version = str(metadata.get("library_version"))
    return SavedModel(network, loss, metadata.get("extra", {}), version)


def write_tensors(
    path: str | os.PathLike[str],
    kind: str,
    tensors: Mapping[str, Array],
    metadata: Mapping[str, Any],
    *,
    beside: str | os.PathLike[str] | None = None,
) -> None:
    """Write arrays and JSON metadata to a safetensors file of a kind ("model"), with a checksum."""
    raw = packed(path, kind, tensors, metadata)
    if beside is None:
        disk.write_atomic(path, raw)
    else:
        disk.write_beside(path, raw, beside)


def packed(
    path: str | os.PathLike[str],
    kind: str,
    tensors: Mapping[str, Array],
    metadata: Mapping[str, Any],
) -> bytes:
    """Return the bytes that :func:`write_tensors` would write; errors name `path`."""
    import safetensors.numpy  # late: only files need it, never the ops

    from lenet_fast import __version__

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES // 2:
        raise ValueError(f"{path}: expected at most {MAX_BYTES // 2} bytes of arrays, got {size}")
    content = {
        "format": f"lenet_fast {kind}",
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        **metadata,
    }
    content["sha256"] = _digest(arrays, content)
    # One entry, because the library writes several in varying order.
    raw = safetensors.numpy.save(arrays, {_KEY: json.dumps(content)})
    header = int.from_bytes(raw[:8], "little")
    if header > MAX_HEADER_BYTES[kind]:
        raise ValueError(
            f"{path}: expected at most {MAX_HEADER_BYTES[kind]} bytes besides the arrays, got "
            f"{header}"
        )
    return raw


def read_tensors(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and metadata of a file written by :func:`write_tensors`.

    The checksum is verified; whether the content makes sense is for the caller to check.
    """
    import safetensors
    import safetensors.numpy

    header_bytes = _header_bytes(path, kind)
    raw = disk.read_bytes(path, MAX_BYTES)
    try:
        # Parse the header first: the library spends a second on 20,000 arrays.
        header = json.loads(raw[8 : 8 + header_bytes])
        arrays = len(header)
        tensors = safetensors.numpy.load(raw) if arrays <= MAX_ARRAYS else {}
        text = (header.get("__metadata__") or {}).get(_KEY)
    except (safetensors.SafetensorError, *_NO_HEADER) as error:
        raise FileFormatError(
            f"{path}: expected a lenet_fast {kind} file, got one that is cut short or not in the "
            f"safetensors format at all ({error})"
        ) from None
    if arrays > MAX_ARRAYS:
        raise FileFormatError(f"{path}: expected at most {MAX_ARRAYS} arrays, got {arrays}")
    if text is None:
        raise FileFormatError(
            f"{path}: expected a lenet_fast {kind} file, got the safetensors file of "
            "another program"
        )
    try:
        content = dict(json.loads(text))
    except (TypeError, ValueError, RecursionError):
        raise FileFormatError(
            f"{path}: expected a lenet_fast {kind} file, got one whose metadata are not JSON"
        ) from None
    made_by, version = content.get("format"), content.get("format_version")
    if made_by != f"lenet_fast {kind}":
        raise FileFormatError(f"{path}: expected a lenet_fast {kind} file, got a {made_by} file")
    if version != FORMAT_VERSION:
        raise FileFormatError(
            f"{path}: expected format version {FORMAT_VERSION}, got {version}, written by "
            f"lenet_fast {content.get('library_version')}; use that version to read it"
        )
    if content.pop("sha256", None) != _digest(tensors, content):
        raise FileFormatError(
            f"{path}: expected the SHA-256 that was written with the file, got another; "
            "the file has been altered or damaged"
        )
    return tensors, content


def build(
    path: str | os.PathLike[str],
    what: str,
    from_config: Callable[[dict[str, Any]], Any],
    config: Any,
    *,
    optional: bool = False,
) -> Any:
    """Return the object described by a file's metadata; FileFormatError if it cannot be built."""
    if config is None and optional:
        return None
    if not isinstance(config, dict):
        raise FileFormatError(f"{path}: expected a description of the {what}, got none")
    try:
        return from_config(config)
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        article = "an" if what[0] in "aeiou" else "a"
        raise FileFormatError(
            f"{path}: expected {article} {what} that this version knows, got one that cannot be "
            f"built ({type(error).__name__}: {error})"
        ) from error


def build_network(
    path: str | os.PathLike[str], config: Any, tensors: Mapping[str, Array]
) -> Network:
    """Return the network described by a file's metadata, with the file's arrays, all checked."""
    with initialisers.deferred():
        network: Network = build(path, "network", Network.from_config, config)
    check_arrays(path, tensors, network.parameters)
    for name, array in network.parameters.items():
        array[...] = tensors[name]
    return network


def check_arrays(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], like: Mapping[str, Array]
) -> None:
    """Raise FileFormatError unless a file's arrays match others in names, shapes and dtypes.

    They must also be finite: a network with a NaN cannot classify anything, and our training
    never saves one.
    """
    if tensors.keys() != like.keys():
        wrong = sorted(tensors.keys() ^ like.keys())
        raise FileFormatError(
            f"{path}: expected the arrays of the network it describes, got a file in which these "
            f"are missing or not expected: {', '.join(map(checks.quoted, wrong[:5]))}"
        )
    for name, array in like.items():
        found = tensors[name]
        if found.shape != array.shape or found.dtype != array.dtype:
            raise FileFormatError(
                f"{path}: {name}: expected {array.dtype} of shape {array.shape}, got "
                f"{found.dtype} of shape {found.shape}"
            )
        if not np.isfinite(found).all():
            raise FileFormatError(f"{path}: {name}: expected finite values, got NaN or infinity")


def _header_bytes(path: str | os.PathLike[str], kind: str) -> int:
    """Return the length of a file's header; FileFormatError if it is absurd."""
    with disk.open_regular(path, MAX_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise FileFormatError(
            f"{path}: expected a lenet_fast {kind} file, got one that is cut short or not in the "
            "safetensors format at all"
        )
    if length > MAX_HEADER_BYTES[kind]:
        raise FileFormatError(
            f"{path}: expected a lenet_fast {kind} file with a header of at most "
            f"{MAX_HEADER_BYTES[kind]} bytes, got {length} bytes"
        )
    return length


def _digest(tensors: Mapping[str, Array], content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
