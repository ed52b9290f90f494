"""Preparing and centring images, judged by definitions written out anew and by MNIST itself."""

import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lenet_fast import data
from lenet_fast.data import images, sources
from lenet_fast.errors import FileFormatError

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def digits():
    """The bundled test images of MNIST."""
    return sources.load_sample().test.images


# --- prepare ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "columns", "size"), [(28, 28, 32), (32, 32, 32), (28, 28, 28), (3, 4, 8), (5, 1, 8)]
)
def test_prepare_pads_and_scales(rows, columns, size, dtype):
    pictures = RANDOM.integers(0, 256, (4, rows, columns), dtype=np.uint8)
    x = images.prepare(pictures, size=size, dtype=dtype)
    expected = np.full((4, 1, size, size), -0.1)
    top, left = (size - rows) // 2, (size - columns) // 2
    for i in range(4):
        for r in range(rows):
            for s in range(columns):
                grey = int(pictures[i, r, s])
                expected[i, 0, top + r, left + s] = -0.1 + 1.275 * grey / 255
    assert x.dtype == dtype
    assert x.flags.c_contiguous
    np.testing.assert_allclose(x, expected, rtol=0, atol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("background", "ink"), [(-0.1, 1.175), (0.0, 1.0), (1.0, -1.0)])
def test_prepare_hits_both_ends_exactly(background, ink, dtype):
    ends = np.array([0, 255], np.uint8).reshape(2, 1, 1)
    x = images.prepare(ends, size=1, dtype=dtype, background=background, ink=ink)
    assert x.ravel().tolist() == np.array([background, ink], dtype).tolist()


@pytest.mark.parametrize("layout", ["strided", "Fortran", "read-only"])
def test_prepare_takes_any_layout(layout):
    pictures = RANDOM.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    other = {
        "strided": np.repeat(pictures, 2, axis=0)[::2],
        "Fortran": np.asfortranarray(pictures),
        "read-only": pictures.copy(),
    }[layout]
    other.flags.writeable = layout != "read-only"
    np.testing.assert_array_equal(images.prepare(other), images.prepare(pictures))


@pytest.mark.parametrize("n", [0, 1])
def test_prepare_takes_none_or_one(n):
    assert images.prepare(np.zeros((n, 28, 28), np.uint8)).shape == (n, 1, 32, 32)


def test_prepare_leaves_its_input_alone():
    pictures = RANDOM.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    before = pictures.copy()
    images.prepare(pictures)[:] = 7
    np.testing.assert_array_equal(pictures, before)


def test_prepare_refuses_other_input():
    good = np.zeros((2, 28, 28), np.uint8)
    with pytest.raises(TypeError, match="images: expected uint8, got float32"):
        images.prepare(good.astype(np.float32))
    with pytest.raises(ValueError, match=r"images: .* got \(28, 28\)"):
        images.prepare(good[0])
    with pytest.raises(ValueError, match=r"images: .* at most 20 by 20, got \(2, 28, 28\)"):
        images.prepare(good, size=20)
    with pytest.raises(TypeError, match="dtype: expected float32 or float64, got int8"):
        images.prepare(good, dtype="int8")
    with pytest.raises(ValueError, match="background: expected a finite number, got nan"):
        images.prepare(good, background=float("nan"))
    with pytest.raises(ValueError, match="ink: expected a finite number, got inf"):
        images.prepare(good, ink=float("inf"))
    good[0, 14] = 16
    with pytest.raises(ValueError, match=r"images: .* got 0 to 16; .* images \* np.uint8\(15\)"):
        images.prepare(good)
    for axis, words in ((-1, "channels"), (1, "")):
        with pytest.raises(ValueError, match=f"images: .* axis seems .*{words}"):
            images.prepare(np.stack([good[0]] * 3, axis))
    good[1, 14] = 17  # one of several may be faint
    assert images.prepare(good).shape == (2, 1, 32, 32)


# --- resize ----------------------------------------------------------------------------------


def resized_by_definition(line: np.ndarray, n_out: int) -> list[float]:
    """One axis: for each output pixel a mean of the input under a triangle around its middle."""
    n_in = len(line)
    step = n_in / n_out
    reach = max(step, 1.0)
    result = []
    for k in range(n_out):
        middle = (k + 0.5) * step
        total = weight = 0.0
        for i, value in enumerate(line):
            share = max(0.0, 1 - abs((i + 0.5) - middle) / reach)
            total += share * value
            weight += share
        result.append(total / weight)
    return result


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(1, 20), (8, 20), (20, 20), (28, 20), (301, 20), (2, 1)]
)
def test_resize_is_the_triangle_filter(n_in, n_out):
    image = RANDOM.random((n_in, 3))
    got = images.resize(image, n_out, 3)
    expected = np.array([resized_by_definition(column, n_out) for column in image.T]).T
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [(20, 20), (7, 31), (61, 5), (1, 1)])
def test_resize_agrees_with_pillow(size):
    image = RANDOM.random((28, 45)).astype(np.float32)
    rows, columns = size
    pillow = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(images.resize(image, rows, columns), np.asarray(pillow), atol=1e-5)


def test_resize_takes_many_at_once():
    many = RANDOM.random((2, 3, 9, 8))
    got = images.resize(many, 4, 5)
    assert got.shape == (2, 3, 4, 5)
    np.testing.assert_allclose(got[1, 2], images.resize(many[1, 2], 4, 5), rtol=1e-12)


# --- centre ----------------------------------------------------------------------------------


def box(image: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(image)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def middle(image: np.ndarray) -> tuple[float, float]:
    grid = np.indices(image.shape)
    return tuple(float((axis * image).sum() / image.sum()) for axis in grid)


def test_centre_leaves_mnist_as_it_is(digits):
    difference = np.array(
        [np.abs(images.centre(digit).astype(int) - digit).max() for digit in digits[:500]]
    )
    assert (difference <= 5).mean() >= 0.99, "see Notes of centre"


@pytest.mark.slow
@pytest.mark.parametrize("up", [3, 10])
def test_centre_undoes_magnification_and_a_move(digits, up):
    for digit in digits[:20]:
        page = np.zeros((40 * up, 50 * up), np.uint8)
        page[5 * up : 33 * up, 20 * up : 48 * up] = np.kron(digit, np.ones((up, up), np.uint8))
        got = images.centre(page).astype(float)
        # Anti-aliasing smooths, so the picture is alike, not the same.
        assert likeness(got, digit) > 0.97
        assert max(box(got)) == 20
        assert all(abs(each - 14) <= 1 for each in middle(got))


def test_centre_of_a_bar_worked_by_hand():
    page = np.zeros((100, 100), np.uint8)
    page[10:50, 60:64] = 200  # 40 x 4 becomes 20 x 2
    expected = np.zeros((28, 28), np.uint8)
    # Its middle, 9.5 and 0.5 pixels from its corner, comes nearest to 14 from 4.5 and 13.5;
    # halves are rounded to the even number.
    expected[4:24, 14:16] = 255
    np.testing.assert_array_equal(images.centre(page), expected)


@pytest.mark.parametrize("size", [8, 10, 12])
def test_a_thin_digit_in_a_tiny_image_is_no_frame(size):
    """Scikit-learn's digits with a margin of one pixel: the search for a frame went on into the
    stroke, whose even inside was then the paper."""
    one = np.zeros((size, size))
    one[1:-1, size // 2 - 1 : size // 2 + 1] = 16
    rows, columns = np.nonzero(images.centre(one))
    assert np.ptp(rows) + 1 == 20
    assert 3 < np.ptp(columns) + 1 < 9


@pytest.mark.parametrize(("pale", "left"), [(1.0, 4), (0.3, 7), (0.1, 8)])
def test_centre_goes_by_mass_not_by_the_box(pale, left):
    page = np.zeros((40, 40))
    page[10:30, 10:30] = pale
    page[10:30, 10:13] = 1.0
    # The middle of the mass is at 9.5, 7.3 and 4.6 of the 20 columns; the last would start at
    # 9 and leave the image, so it stops at its edge.
    columns = np.flatnonzero(images.centre(page).any(axis=0))
    assert (columns[0], columns[-1]) == (left, left + 19)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
def test_centre_does_not_depend_on_the_scale(digits, dtype):
    digit = digits[3]
    expected = images.centre(digit)
    np.testing.assert_array_equal(
        images.centre((digit // 2).astype(dtype)), images.centre(digit // 2)
    )
    if dtype.startswith("float"):
        for factor, offset in ((1 / 255, 0), (1, -128), (-1 / 255, 1)):
            got = images.centre((digit * factor + float(offset)).astype(dtype)).astype(int)
            assert np.abs(got - expected).max() <= 1 + 255 * 2 * np.finfo(np.float16).eps


def test_centre_survives_extreme_floats(digits):
    for largest in (1e-320, 1.7e308):
        got = images.centre(digits[0] / 255 * largest)
        assert np.abs(got.astype(int) - images.centre(digits[0])).max() <= 5


def test_centre_of_a_drawing_in_black_and_white(digits):
    drawing = digits[5] > 127
    np.testing.assert_array_equal(images.centre(drawing), images.centre(drawing * 255.0))


def test_centre_finds_dark_ink(digits):
    for digit in digits[:20]:
        assert not images.looks_inverted(digit)
        assert images.looks_inverted(255 - digit)
        np.testing.assert_array_equal(images.centre(255 - digit), images.centre(digit))
        np.testing.assert_array_equal(
            images.centre(255 - digit, invert=True), images.centre(digit, invert=False)
        )


def test_centre_can_be_told_which_is_ink():
    page = np.zeros((30, 30), np.uint8)
    page[10:20, 10:12] = 255
    expected = centre_of_a_bar()
    np.testing.assert_array_equal(images.centre(page, invert=False), expected)
    np.testing.assert_array_equal(images.centre(255 - page, invert=True), expected)
    for wrong in (True, False):
        with pytest.raises(ValueError, match="blank"):
            images.centre(page if wrong else 255 - page, invert=wrong)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_frame_is_no_ink(width):
    page = np.full((30, 30), 255, np.uint8)
    page[width:-width, width:-width] = 0  # a bright frame, as of a scanner
    page[10:20, 10:12] = 255
    assert not images.looks_inverted(page)
    np.testing.assert_array_equal(images.centre(page), centre_of_a_bar())
    np.testing.assert_array_equal(images.centre(255 - page), centre_of_a_bar())


def centre_of_a_bar() -> np.ndarray:
    """A bar five times as high as it is wide, in MNIST's form."""
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 12:16] = 255
    return expected


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.slow
def test_centre_sees_through_noise(digits):
    noise = np.random.default_rng(7)
    alike = 0
    for digit in digits[:100]:
        photograph = 200.0 + noise.normal(0, 4, (180, 200))
        photograph[60:144, 70:154] -= 0.7 * np.kron(digit, np.ones((3, 3)))
        got = images.centre(photograph.clip(0, 255).astype(np.uint8))
        alike += likeness(got, images.centre(digit)) > 0.9
    assert alike >= 90, "losing a faint edge can move a thin digit by a pixel, so not all"


def test_centre_takes_digits_cut_out_close(digits):
    alike = 0
    for digit in digits[:100]:
        rows, columns = np.nonzero(digit)
        cutting = digit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        try:
            alike += likeness(images.centre(cutting), images.centre(digit)) > 0.9
        except ValueError:  # a thin "1" leaves no paper on the border
            continue
    assert alike >= 95


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (28, 28), (3, 500)])
def test_blank_images_are_refused(shape):
    for blank in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), np.ones(shape)):
        assert not images.looks_inverted(blank)
        with pytest.raises(ValueError, match="image: expected a digit, got a blank image"):
            images.centre(blank)


def test_blank_noisy_paper_is_refused():
    paper = RANDOM.normal(230, 3, (200, 200))
    with pytest.raises(ValueError, match="blank"):
        images.centre(paper)


def test_centre_refuses_other_input():
    with pytest.raises(ValueError, match=r"image: .* got \(2, 28, 28\)"):
        images.centre(np.zeros((2, 28, 28)))
    with pytest.raises(ValueError, match=r"image: .* got \(0, 28\)"):
        images.centre(np.zeros((0, 28)))
    with pytest.raises(TypeError, match="image: expected real numbers, got complex128"):
        images.centre(np.zeros((28, 28), complex))
    with pytest.raises(TypeError, match="image: expected real numbers, got <U1"):
        images.looks_inverted(np.full((28, 28), "a"))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="image: expected finite values"):
            images.centre(np.full((28, 28), bad))
    with pytest.raises(ValueError, match="invert: expected True, False or 'auto', got 'yes'"):
        images.centre(np.eye(28), invert="yes")


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_centre_of_anything_is_an_mnist_image_or_blank(rows, columns, seed, density):
    random = np.random.default_rng(seed)
    page = random.integers(1, 256, (rows, columns)) * (random.random((rows, columns)) < density)
    if np.ptp(page) == 0:
        with pytest.raises(ValueError, match="blank"):
            images.centre(page)
        return
    try:
        got = images.centre(page)
    except ValueError:  # so dense that the border is as noisy as the rest
        return
    assert got.shape == (28, 28)
    assert got.dtype == np.uint8
    assert got.max() == 255
    assert max(box(got)) <= 20


# --- read_image ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "pgm", "webp", "jpg"])
def test_image_files_are_read(tmp_path, digits, ending):
    path = tmp_path / f"digit.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(digits[0]).save(path, **options)
    got = images.read_image(path)
    assert got.dtype == np.uint8
    difference = np.abs(got.astype(int) - digits[0]).max()
    assert difference <= (40 if ending == "jpg" else 0), "JPEG is lossy"
    assert got.flags.writeable


def test_the_content_counts_not_the_name(tmp_path, digits):
    Image.fromarray(digits[0]).save(tmp_path / "digit.jpg", format="PNG")
    np.testing.assert_array_equal(images.read_image(tmp_path / "digit.jpg"), digits[0])


def test_transparent_parts_lie_on_white(tmp_path):
    colours = np.zeros((2, 2, 4), np.uint8)  # black everywhere
    colours[0, 0, 3] = 255  # and here to be seen
    colours[0, 1, 3] = 128  # here half
    path = tmp_path / "ink.png"
    Image.fromarray(colours).save(path)
    assert images.read_image(path).tolist() == [[0, 127], [255, 255]]
    Image.fromarray(colours[:, :, [0, 3]]).save(path)
    assert images.read_image(path).tolist() == [[0, 127], [255, 255]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.save(path, transparency=1)
    assert images.read_image(path).tolist() == [[0, 255]]


def test_colours_become_grey(tmp_path):
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [255] * 3]], np.uint8)).save(
        tmp_path / "colours.png"
    )
    # ITU-R 601 luma, as television had it: 0.299 red, 0.587 green, 0.114 blue.
    assert images.read_image(tmp_path / "colours.png").tolist() == [[76, 150, 255]]


def test_deep_pixels_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert images.read_image(tmp_path / "deep.png").tolist() == [[0, 0, 1, 128, 255]]
    (tmp_path / "deep.pgm").write_bytes(b"P5 5 1 65535\n" + deep.astype(">u2").tobytes())
    assert images.read_image(tmp_path / "deep.pgm").tolist() == [[0, 0, 1, 128, 255]]


def test_a_turned_photograph_is_put_upright(tmp_path):
    turned = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown as it should be after a quarter turn clockwise
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    assert images.read_image(tmp_path / "turned.png").tolist() == [[255, 0]] * 3


def png_of_size(columns: int, rows: int) -> bytes:
    """A PNG whose header claims a size that its data do not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8193, 12_000, 2**30])
def test_decompression_bombs_are_refused(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_of_size(side, side))
    with pytest.raises(FileFormatError, match=r"bomb\.png: .*(67,108,864|decompression bomb)"):
        images.read_image(tmp_path / "bomb.png")


def test_other_files_are_refused(tmp_path, digits):
    Image.fromarray(digits[0]).save(tmp_path / "digit.png")
    content = (tmp_path / "digit.png").read_bytes()
    Image.fromarray(digits[0]).save(tmp_path / "digit.tiff")
    for name, bad in {
        "empty": b"",
        "text": b"a digit",
        "cut": content[: len(content) // 2],
        "altered": content[:60] + bytes(20) + content[80:],
        "tiff": (tmp_path / "digit.tiff").read_bytes(),
        "floats": b"Pf\n2 2\n-1.0\n" + bytes(16),
    }.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(FileFormatError, match=f"{name}: expected a sound image file"):
            images.read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        images.read_image(tmp_path / "nothing.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="expected a regular file, got a device or a pipe"):
        data.read_image(tmp_path / "pipe")
