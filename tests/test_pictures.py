"""Picture files: what is in the pixels, in the opacity, and in files that are no pictures."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from lenet_fast.data import centre, pictures, read_image
from lenet_fast.errors import FileFormatError


def seven() -> np.ndarray:
    """A black 7 on white paper, (60, 50) bool, True where there is ink."""
    ink = np.zeros((60, 50), bool)
    ink[10:15, 10:40] = True
    for row in range(15, 50):
        right = 40 - (row - 10) // 2
        ink[row, right - 5 : right] = True
    return ink


PAPER = np.where(seven(), 0, 255).astype(np.uint8)
EXPECTED = centre(PAPER).astype(int)


def assert_is_seven(path) -> None:
    got = centre(read_image(path)).astype(int)
    assert np.abs(got - EXPECTED).mean() < 1


def png(values: np.ndarray, depth: int, columns: int | None = None) -> bytes:
    """A PNG file of grey values, (rows, columns), or of colours, (rows, columns, 3 or 4)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    kind = {2: 0, 3: 2}[values.ndim] if values.shape[-1] != 4 else 6
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", *values.shape[1::-1], depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_deep_pixels_of_few_bits_are_read(tmp_path, bits, bands):
    values = (PAPER // 255).astype(np.uint16) * (2**bits - 1)
    if bands > 1:
        values = np.repeat(values[..., None], bands, axis=2)
    if bands == 4:
        values[..., 3] = 65535
    (tmp_path / "deep.png").write_bytes(png(values, 16))
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), PAPER)


@pytest.mark.parametrize("bits", [8, 12])
def test_deep_colours_keep_their_shades(tmp_path, bits):
    shades = np.linspace(0, 2**bits - 1, 16).astype(np.uint16).reshape(4, 4)
    (tmp_path / "deep.png").write_bytes(png(np.repeat(shades[..., None], 3, axis=2), 16))
    got = read_image(tmp_path / "deep.png").astype(int)
    assert np.abs(got - shades / (2**bits - 1) * 255).max() <= 1


@pytest.mark.parametrize("most", [1, 255, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_portable_maps_of_any_range(tmp_path, kind, most):
    values = (PAPER // 255).astype(np.uint16) * most
    values = np.repeat(values[..., None], 3 if kind == b"P6" else 1, axis=2)
    for largest in {most, 65535}:
        body = values.astype(">u2" if largest > 255 else "u1").tobytes()
        path = tmp_path / f"{largest}.pgm"
        path.write_bytes(b"%s 50 60 %d\n" % (kind, largest) + body)
        if kind == b"P6" and most == 1 < largest:
            continue  # Pillow brings these to bytes, where nothing is left of 1 of 65535
        assert_is_seven(path)


@pytest.mark.parametrize("bands", [1, 3])
def test_bytes_of_0_and_1_are_black_and_white(tmp_path, bands):
    values = PAPER // 255
    Image.fromarray(values if bands == 1 else np.stack([values] * 3, -1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PAPER)


# --- opacity ---------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 255, 0), (250, 252, 248), (0, 0, 0)])
@pytest.mark.parametrize("form", ["png", "LA", "gif", "palette", "webp", "lossless"])
def test_the_opacity_is_the_drawing_where_the_colour_is_one(tmp_path, colour, form):
    drawing = np.zeros((60, 50, 4), np.uint8)
    drawing[seven()] = (*colour, 255)
    image = Image.fromarray(drawing)
    path = tmp_path / "ink.png"
    if form == "LA":
        image.convert("LA").save(path)
    elif form == "palette":
        image.quantize(8).save(path)
    elif form == "png":
        image.save(path)
    else:
        image.save(path, {"gif": "GIF"}.get(form, "WEBP"), lossless=form == "lossless")
    assert_is_seven(path)


def test_half_opaque_ink_is_grey(tmp_path):
    drawing = np.full((1, 3, 4), 255, np.uint8)
    drawing[0, :, 3] = 0, 102, 255
    Image.fromarray(drawing).save(tmp_path / "ink.png")
    assert read_image(tmp_path / "ink.png").tolist() == [[255, 153, 0]]


def test_a_sheet_with_clear_corners_lies_on_white(tmp_path):
    sheet = np.stack([*[PAPER] * 3, np.full_like(PAPER, 255)], -1)
    sheet[:4, :4, 3] = 0
    Image.fromarray(sheet).save(tmp_path / "sheet.png")
    np.testing.assert_array_equal(read_image(tmp_path / "sheet.png"), PAPER)


@pytest.mark.parametrize("colour", [0, 255])
def test_nothing_visible_is_blank(tmp_path, colour):
    drawing = np.full((60, 50, 4), colour, np.uint8)
    drawing[..., 3] = 0
    Image.fromarray(drawing).save(tmp_path / "clear.png")
    with pytest.raises(ValueError, match="blank"):
        centre(read_image(tmp_path / "clear.png"))


# --- size ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), [(1, 2**26 - 1), (2**25 - 1, 2), (101, 1)])
def test_strips_are_refused_before_they_are_unpacked(tmp_path, columns, rows):
    head = png(np.zeros((1, 1), np.uint8), 8)
    size = struct.pack(">II", columns, rows)
    body = b"IHDR" + size + head[24:29]
    (tmp_path / "strip.png").write_bytes(
        head[:12] + body + struct.pack(">I", zlib.crc32(body)) + head[33:]
    )
    with pytest.raises(FileFormatError, match=f"{columns} x {rows} pixels, one side more than 100"):
        read_image(tmp_path / "strip.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp", "pgm"])
def test_large_pictures_are_reduced(tmp_path, ending):
    large = np.kron(PAPER, np.ones((41, 41), np.uint8))
    assert large.shape == (2460, 2050)
    Image.fromarray(large).save(tmp_path / f"large.{ending}")
    got = read_image(tmp_path / f"large.{ending}")
    assert got.shape == (1230, 1025)
    exact = large.reshape(1230, 2, 1025, 2).mean(axis=(1, 3))
    assert np.abs(got - exact).mean() < 1


def test_a_large_turned_photograph_is_reduced_and_put_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    large = np.kron(np.rot90(PAPER), np.ones((60, 60), np.uint8))
    Image.fromarray(large).save(tmp_path / "large.jpg", exif=exif)
    assert read_image(tmp_path / "large.jpg").shape == (1800, 1500)
    assert_is_seven(tmp_path / "large.jpg")


def test_large_transparent_drawings_are_reduced(tmp_path):
    drawing = np.zeros((2400, 2000, 4), np.uint8)
    drawing[np.kron(seven(), np.ones((40, 40), bool))] = 255
    Image.fromarray(drawing).save(tmp_path / "large.png")
    assert_is_seven(tmp_path / "large.png")


# --- other files -----------------------------------------------------------------------------


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, "a digit")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, which cannot be read; save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC, which cannot be read"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF, which cannot be read; save it as JPEG or PNG"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "a video"),
        (b"\0\0\1\0\1\0\x10\x10\0\0", "ICO, which cannot be read"),
        (b"\0\0\2\0\1\0\x10\x10\0\0", "ICO, which cannot be read"),
        (b"\0\0\2\0" + bytes(14), "TGA, which cannot be read"),
        (b"\5\1\x0a\0" + bytes(30) + b"TRUEVISION-XFILE.\0", "TGA, which cannot be read"),
        (b"II*\0\x08\0\0\0", "TIFF, which cannot be read; save it as JPEG or PNG"),
        (b"MM\0*\0\0\0\x08", "TIFF, which cannot be read"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL, which cannot be read"),
        (b"8BPS\0\1", "PSD, which cannot be read"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF, which cannot be read"),
        (b"<?xml version='1.0'?>\n<svg xmlns=''/>", "SVG, which cannot be read"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"0,0,255\n0,255,0\n", "a table in text (CSV)"),
        ("zwölf Zeichen".encode(), "text"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (zipped("digits.npy"), "an archive of NumPy arrays (.npz)"),
        (zipped("digits.txt"), "a zip archive"),
        (b"\x1f\x8b\x08\0", "a packed file"),
        (b"\x80\x04\x95", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x89PNG\r\n", "a damaged PNG file"),
        (b"\xff\xd8\xff", "a damaged JPEG file"),
        (b"GIF89a", "a damaged GIF file"),
        (b"RIFF\0\0\0\0WEBP", "a damaged WEBP file"),
        (b"", "an empty file"),
        (bytes(40), "a file of an unknown kind"),
        (bytes(range(128, 256)), "a file of an unknown kind"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path, content, kind):
    path = tmp_path / "picture"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as raised:
        read_image(path)
    message = str(raised.value)
    expected = f"{path}: expected a sound image file ({', '.join(pictures._FORMATS)}), got"
    assert message.startswith(expected)
    assert kind in message
    assert "<" not in message, "no Python object"


def test_colours_of_pictures(tmp_path):
    """Red, green and blue; the middle square of larger pictures; white behind what is clear."""
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    first = np.moveaxis(pixels, -1, 0)
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(pictures.read_colours(path, 30), first)
    found = pictures.read_colours(
        path, 10
    )  # each pixel is the mean of 2x2 in the middle 20 columns
    means = first[:, :, 5:25].reshape(3, 10, 2, 10, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(found, means, atol=1)  # rounded twice
    opacity = np.full((20, 30, 1), 255, np.uint8)
    opacity[:, :10] = 0
    Image.fromarray(np.concatenate([pixels, opacity], axis=-1)).save(path)
    white = first.copy()
    white[:, :, :10] = 255
    np.testing.assert_array_equal(pictures.read_colours(path, 32), white)
    Image.fromarray(pixels[..., 0]).save(path)
    np.testing.assert_array_equal(pictures.read_colours(path, 32), first[[0, 0, 0]])
    Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(path)
    np.testing.assert_array_equal(pictures.read_colours(path, 32), first[[0, 0, 0]])
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera lay on its side
    Image.fromarray(pixels).save(path, exif=turned)
    np.testing.assert_array_equal(pictures.read_colours(path, 32), np.rot90(first, -1, (1, 2)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileFormatError, match=r"a\.png: expected a sound image file"):
        pictures.read_colours(path, 32)
