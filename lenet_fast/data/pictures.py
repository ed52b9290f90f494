"""Read picture files as grey values, in bounded memory, or say what else a file is."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lenet_fast import disk
from lenet_fast.checks import Array
from lenet_fast.data.resizing import PIECE, reduced
from lenet_fast.errors import FileFormatError

Box = tuple[int, int, int, int]

MAX_PIXELS = 2**26
"""Most pixels of an image file: enough for any camera, too few for a decompression bomb."""

MAX_SIDE = 2048
"""Larger pictures are reduced by a whole factor; only 20x20 pixels are needed in the end."""

MAX_RATIO = 100
"""Largest ratio of the sides. A single row of 2**26 pixels is within MAX_PIXELS, but unpacks to
several times their memory."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")

# Errors that Pillow raises on damaged files; it has no error class of its own for them.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)

_KINDS: tuple[tuple[int, tuple[bytes, ...], str], ...] = (
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    (0, (b"\x89PNG",), "a damaged PNG file"),
    (0, (b"\xff\xd8",), "a damaged JPEG file"),
    (0, (b"GIF8",), "a damaged GIF file"),
    (8, (b"WEBP",), "a damaged WEBP file"),
    (4, (b"ftyp", b"moov", b"mdat"), "a video"),
    (0, (b"\x1aE\xdf\xa3", b"RIFF"), "a video or sound"),
    (0, (b"\0\0\2\0\0\0", b"\0\0\3\0\0\0", b"\0\0\x0a\0\0\0", b"\0\0\x0b\0\0\0"), "TGA"),
    (0, (b"\0\0\1\0", b"\0\0\2\0"), "ICO"),
    (0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL"),
    (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    (0, (b"8BPS",), "PSD"),
    (0, (b"gimp xcf",), "XCF"),
    (0, (b"qoif",), "QOI"),
    (0, (b"DDS ",), "DDS"),
    (0, (b"v/1\x01",), "OpenEXR"),
    (0, (b"\xd7\xcd\xc6\x9a",), "WMF"),
    (0, (b"icns",), "ICNS"),
    (0, (b"AT&TFORM",), "DjVu"),
    (0, (b"%PDF",), "PDF"),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript"),
    (0, (b"\x93NUMPY",), "a NumPy array"),
    (0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle"),
    (0, (b"\x89HDF",), "HDF5"),
    (
        0,
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
        "a packed file",
    ),
    (0, (b"SQLite format 3",), "a database"),
    (0, (b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe"), "a program"),
    (0, (b"\xd0\xcf\x11\xe0",), "an Office document"),
    (0, (b"version https://git-lfs",), "a pointer of Git LFS, not the file itself"),
)
"""Offset in a file, its first bytes there, and what it is: for files that Pillow cannot read."""

_ONE_COLOUR = 16
"""Grey values that differ by no more count as one colour, stored by a lossy codec."""

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue, from ITU-R BT.601, as in Pillow."""

_PICTURES = {"AVIF", "HEIC", "ICO", "TIFF", "JPEG XL", "JPEG 2000", "PSD", "XCF", "QOI", "DDS"} | {
    *("OpenEXR", "WMF", "ICNS", "DjVu", "PDF", "PostScript", "SVG", "TGA")
}


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read an image file as grey values.

    Parameters
    ----------
    path : path
        A PNG, JPEG, BMP, GIF (first picture), PBM, PGM, PPM or WebP file.

    Returns
    -------
    ndarray, (rows, columns), uint8
        From 0 (black) to 255 (white), turned upright by the camera's orientation tag. A longer
        side above 2048 pixels is reduced by a whole factor. Transparent parts become white; but if
        all visible parts have one colour, the opacity is the drawing, which becomes black whatever
        its colour. Files that hold only 0 and 1, or 8, 10, 12 or 14 bits in 16-bit pixels, are
        scaled to the full range. Pass the result to :func:`~lenet_fast.data.centre`, which also
        finds out whether the digit is dark or bright.

    Raises
    ------
    FileFormatError
        If the file is none of these, damaged, has more than 2**26 pixels, or is more than 100
        times as long as it is wide. The message says what the file is.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> from lenet_fast.data import read_image
    >>> colours = np.full((20, 30, 3), [0, 0, 255], np.uint8)  # blue
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(colours).save(f"{folder}/blue.png")
    ...     image = read_image(f"{folder}/blue.png")
    >>> image.shape, int(image[0, 0])
    ((20, 30), 29)
    """
    from PIL import Image, ImageOps  # late: they take a while to import

    def read(image: Any, file: BinaryIO) -> npt.NDArray[np.uint8]:
        # JPEG can be unpacked at a half, a quarter or an eighth of its size.
        image.draft("L", (MAX_SIDE, MAX_SIDE))
        upright = Image.fromarray(_flat_grey(image, file))
        upright.info = dict(image.info)  # includes the camera's orientation
        return np.array(ImageOps.exif_transpose(upright))

    return _read(path, read)


def read_colours(path: str | os.PathLike[str], size: int) -> npt.NDArray[np.uint8]:
    """Return a picture's red, green and blue, (3, rows, columns), at most `size` by `size`.

    Of larger pictures, the middle square is scaled to that size. Transparent parts become white.
    The files and errors are those of :func:`read_image`.
    """
    from PIL import Image, ImageOps

    def read(image: Any, file: BinaryIO) -> npt.NDArray[np.uint8]:
        if image.mode.startswith(("I", "F")):  # greys of more than 8 bits
            grey = Image.fromarray(_flat_grey(image, file))
            grey.info = dict(image.info)
            image = grey
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            clear = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        colours = upright.convert("RGB")
        if max(colours.size) > size:
            colours = ImageOps.fit(colours, (size, size), Image.Resampling.BOX)
        return np.ascontiguousarray(np.moveaxis(np.asarray(colours), -1, 0))

    return _read(path, read)


def _read(
    path: str | os.PathLike[str], read: Callable[[Any, BinaryIO], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Return what `read` makes of an open picture and its file; FileFormatError if it cannot."""
    from PIL import Image, UnidentifiedImageError

    expected = f"{os.fspath(path)}: expected a sound image file ({', '.join(_FORMATS)})"
    with disk.open_regular(path) as file, warnings.catch_warnings():
        # Pillow warns of damaged metadata and of large pictures; neither concerns the caller.
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=_FORMATS) as image:
                _check_size(*image.size)
                return read(image, file)
        except UnidentifiedImageError as error:
            raise FileFormatError(f"{expected}, got {_kind(file)}") from error
        except (Image.DecompressionBombError, *_DAMAGED) as error:
            raise FileFormatError(f"{expected}, got: {error}") from error


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a grey image (rows, columns) as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def _check_size(columns: int, rows: int) -> None:
    if columns * rows > MAX_PIXELS:
        raise FileFormatError(f"{columns} x {rows} pixels, more than {MAX_PIXELS:,}")
    if max(columns, rows) > MAX_RATIO * min(columns, rows):
        raise FileFormatError(
            f"{columns} x {rows} pixels, one side more than {MAX_RATIO} times the other"
        )


def _kind(file: BinaryIO) -> str:
    """Return what a file is that Pillow cannot read, and what to do."""
    file.seek(0)
    head = file.read(4096)
    if not head:
        return "an empty file"
    kind = next((kind for at, starts, kind in _KINDS if head[at:].startswith(starts)), None)
    kind = kind or _by_content(head) or ("TGA" if _is_tga(file) else None)
    if kind in _PICTURES:
        return f"{kind}, which cannot be read; save it as JPEG or PNG"
    return kind or "a file of an unknown kind"


def _by_content(head: bytes) -> str | None:
    if head.startswith(b"PK\3\4"):
        return "an archive of NumPy arrays (.npz)" if b".npy" in head[:200] else "a zip archive"
    try:
        text = head.decode().lstrip("\ufeff \t\r\n").lower()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the end of the piece cuts a character
            return None
        text = head[: error.start].decode().lstrip("\ufeff \t\r\n").lower()
    if any(ord(letter) < 32 and not letter.isspace() for letter in text):
        return None
    if "<svg" in text:
        return "SVG"
    if text.startswith(("<!doctype html", "<html")):
        return "a web page"
    lines = text.splitlines()
    if len(lines) > 1 and all("," in line for line in lines[:2]):
        return "a table in text (CSV)"
    return "text"


def _is_tga(file: BinaryIO) -> bool:
    """Return whether a file ends like TGA version 2; version 1 has no signature."""
    file.seek(0, io.SEEK_END)
    file.seek(max(file.tell() - 18, 0))
    return file.read(18).startswith(b"TRUEVISION-XFILE.")


def _flat_grey(image: Any, file: BinaryIO) -> npt.NDArray[np.uint8]:
    """Return a Pillow image as bytes, reduced if large, with transparent parts on white."""
    if image.mode == "F":
        raise FileFormatError("floating-point pixels, whose scale is unknown")
    planes = _planes(image, file)
    columns, rows = image.size
    factor = -(-max(rows, columns) // MAX_SIDE)
    step = max(PIECE // columns // factor, 1) * factor
    colours, opacities = [], []
    for first in range(0, rows, step):
        grey, opacity = planes((0, first, columns, min(first + step, rows)))
        if opacity is not None:
            opacities.append(reduced(opacity, factor))
            grey = grey * opacity
        colours.append(reduced(grey, factor))
    flat = np.concatenate(colours)
    if opacities:
        flat = _on_white(flat, np.concatenate(opacities))
    return np.rint(flat.clip(0, 255)).astype(np.uint8)


def _planes(image: Any, file: BinaryIO) -> Callable[[Box], tuple[Array, Array | None]]:
    """Return a function of a box: its grey values, 0 to 255, and its opacity, 0 to 1, or None."""
    low = _low_bytes(image, file)
    largest = _largest(image)
    if low is not None:
        return _deep_planes(image, low)
    if image.mode.startswith("I"):  # 16 bits per pixel; convert("L") would clip at 255
        return lambda box: (_to_bytes(np.asarray(image.crop(box)), largest), None)
    clear = "transparency" in image.info or image.mode[-1] in "Aa"

    def planes(box: Box) -> tuple[Array, Array | None]:
        piece = image.crop(box).convert("RGBA" if clear else "L")
        grey = _to_bytes(np.asarray(piece.convert("L")), largest)
        return grey, np.asarray(piece.getchannel("A")) / np.float32(255) if clear else None

    return planes


def _deep_planes(high: Any, low: Any) -> Callable[[Box], tuple[Array, Array | None]]:
    """Like :func:`_planes`, for colours and opacity given as high and low bytes."""
    largest = [
        256 * top + bottom
        for (_, top), (_, bottom) in zip(high.getextrema(), low.getextrema(), strict=True)
    ]

    def planes(box: Box) -> tuple[Array, Array | None]:
        values = 256 * np.asarray(high.crop(box), np.uint16) + np.asarray(low.crop(box))
        grey = _to_bytes(values[..., :3], max(largest[:3])) @ _LUMA
        opacity = _to_bytes(values[..., 3], largest[3]) / 255 if len(largest) == 4 else None
        return grey, opacity

    return planes


def _on_white(colour: Array, opacity: Array) -> Array:
    """Return grey values on white, from grey values times opacity, and the opacity, 0 to 1."""
    most = opacity.max()
    if most - opacity.min() > _ONE_COLOUR / 255:
        visible = opacity > most / 2
        if np.ptp(colour[visible] / opacity[visible]) <= _ONE_COLOUR:
            # Only one colour: the opacity is the drawing. A white drawing would vanish on white.
            colour = np.zeros_like(colour)
    return colour + 255 * (1 - opacity)


def _largest(image: Any) -> int:
    """Return the largest value of any colour; 255 if the values index a palette."""
    if not image.mode.startswith(("L", "RGB", "I")):
        return 255
    extrema = image.getextrema()
    colours = extrema[: len(image.mode.rstrip("Aa"))] if len(image.getbands()) > 1 else [extrema]
    return int(max(high for _, high in colours))


def _to_bytes(values: Array, largest: int) -> Array:
    """Return integers as bytes, given the largest value in the whole picture.

    Scanners and cameras store 8, 10, 12 or 14 bits in pixels of 16; some programs store 0 and 1.
    """
    if largest == 1:
        return values * np.uint8(255)
    bits = next(bits for bits in (8, 10, 12, 14, 16) if largest < 2**bits or bits == 16)
    return values.clip(0, 65535) >> (bits - 8)


def _low_bytes(image: Any, file: BinaryIO) -> Any:
    """Return the low bytes of a PNG file of 16 bits per colour, if the high ones do not suffice.

    Pillow keeps only the high bytes, which are empty if 16-bit pixels hold 8-bit values.
    """
    from PIL import Image

    raw = image.tile[0].args if image.format == "PNG" and image.tile else None
    if raw not in ("RGB;16B", "RGBA;16B") or _largest(image) >= 2**6:  # more than 14 bits
        return None
    file.seek(0)
    again = Image.open(file, formats=("PNG",))
    # Read as if the low byte came first, so that Pillow keeps that one.
    again.tile = [tile._replace(args=raw.replace("16B", "16L")) for tile in again.tile]
    again.load()
    return again
