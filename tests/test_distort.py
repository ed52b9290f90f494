"""Distortions: what they do, against SciPy; what they are drawn from; the same bytes everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import complains, layouts, require

from lenet_fast import data
from lenet_fast.data import Distortion, distort
from lenet_fast.ops import warping
from lenet_fast.threads import Pool

DIGITS = data.load("sample").train.images[:40]
SAMPLES = np.arange(40)
ALL = Distortion(shift=3, scale=0.2, squeeze=0.2, shear=0.4, rotation=30, elastic=34, smoothness=4)
AFFINE = Distortion(shift=3, scale=0.2, squeeze=0.2, shear=0.4, rotation=30)
WIDEST = Distortion(100, 0.5, 0.5, 1, 180, 1000, 0.5)


def splitmix64(state: int) -> int:
    """Return a generator's next number: the definition, on Python's ints."""
    mask = 2**64 - 1
    z = state + 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def stream(seed: int, epoch: int, sample: int, count: int) -> list[int]:
    key = seed
    for number in (0, epoch, sample):
        key = splitmix64(key + number)
    return [splitmix64(key + k * 0x9E3779B97F4A7C15) for k in range(count)]


def canvas(images: np.ndarray, size: int) -> np.ndarray:
    """Return images in the middle of larger ones."""
    above = (size - images.shape[1]) // 2
    below = size - images.shape[1] - above
    return np.pad(images, ((0, 0), (above, below), (above, below)))


def way_back(drawn: dict, k: int) -> np.ndarray:
    """Return the matrix from a pixel to its source, both about the centre, shift left out."""
    angle = np.deg2rad(drawn["rotation"][k])
    cosine, sine = np.cos(angle), np.sin(angle)
    growth, stretch = 1 + drawn["scale"][k], 1 + drawn["squeeze"][k]
    forth = (
        np.array([[cosine, -sine], [sine, cosine]])
        @ np.array([[1, 0], [-drawn["shear"][k], 1]])
        @ np.diag([growth * stretch, growth / stretch])
    )
    return np.linalg.inv(forth)


def sources(distortion: Distortion, size: int, k: int) -> np.ndarray:
    """Return the place (2, size, size) that each pixel of digit k comes from by the affine map."""
    drawn = distortion.draw(SAMPLES, 2, 5)
    middle = 13.5 + (size - 28) // 2
    moved = np.array([drawn["shift_down"][k], drawn["shift_right"][k]])
    away = np.indices((size, size)) - (middle + moved)[:, None, None]
    return np.einsum("ij,jrc->irc", way_back(drawn, k), away) + middle


def grey_error(size: int) -> float:
    """Return what a byte may be off: by half, and by a slope of 255 each way times what the
    position is off, whose terms are rounded to 2**-18 and their sum to 2**-11."""
    return 0.5 + 2 * 255 * (2**-12 + (2 * size + 2) * 2**-19)


# ------------------------------------------------------------------ what is done to an image


@pytest.mark.parametrize("size", [28, 32])
def test_affine_distortions_are_those_of_scipy(size):
    ndimage = require("scipy.ndimage")
    made = AFFINE(DIGITS, SAMPLES, 2, 5, size=size)
    assert made.shape == (40, size, size)
    assert made.dtype == np.uint8
    drawn = AFFINE.draw(SAMPLES, 2, 5)
    middle = 13.5 + (size - 28) // 2
    for k, image in enumerate(canvas(DIGITS, size).astype(np.float64)):
        back = way_back(drawn, k)
        moved = np.array([drawn["shift_down"][k], drawn["shift_right"][k]])
        offset = middle - back @ (middle + moved)
        right = ndimage.affine_transform(image, back, offset, order=1, mode="grid-constant")
        if size == 28:  # SciPy's canvas is the image
            np.testing.assert_allclose(made[k], right, rtol=0, atol=grey_error(size))
        else:
            inside = ndimage.map_coordinates(image, sources(AFFINE, size, k), order=1)
            np.testing.assert_allclose(made[k], inside, rtol=0, atol=grey_error(size))
    assert (made != canvas(DIGITS, size)).any(axis=(1, 2)).all()


def test_elastic_distortions_are_those_of_scipy():
    ndimage = require("scipy.ndimage")
    noise = np.empty((40, 2, 32, 32))
    for k in range(40):
        numbers = stream(5, 2, k, 8 + 256)[8:]
        octets = [number >> 8 * i & 255 for number in numbers for i in range(8)]
        noise[k] = (2 * np.reshape(octets, (2, 32, 32)).swapaxes(1, 2) - 255) / 256  # by columns
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(3**-0.5, rel=0.01)
    smooth = ndimage.gaussian_filter(noise, (0, 0, 4, 4), mode="constant", truncate=4)
    made = ALL(DIGITS, SAMPLES, 2, 5, size=32)
    weights, factor = distort._smoothing(32, 4.0), 34 * 2.0**-5
    keys = distort._keys(SAMPLES, 2, 5)
    fields = warping.smooth_noise(keys, weights, weights, factor, backend="numpy")
    found = fields / 2.0**18
    # Weights are rounded to 2**-13, at most 33 of them twice, and once the sums to 2**-10.
    np.testing.assert_allclose(found, 34 * smooth, rtol=0, atol=34 * (2 * 33 * 2**-14 + 2**-11))
    assert np.std(found - 34 * smooth) < 0.003 * np.std(smooth * 34)
    assert np.std(found[:, :, 16, 16]) == pytest.approx(0.163 * 34 / 4, rel=0.2)
    for k, image in enumerate(canvas(DIGITS, 32).astype(np.float64)):
        places = sources(ALL, 32, k) + found[k]
        right = ndimage.map_coordinates(image, places, order=1)
        np.testing.assert_allclose(made[k], right, rtol=0, atol=grey_error(32))


def test_nothing_is_done_where_all_ranges_are_0():
    np.testing.assert_array_equal(Distortion()(DIGITS, SAMPLES, 1, 0), DIGITS)
    for size in (29, 32):
        made = Distortion(smoothness=2)(DIGITS, SAMPLES, 1, 0, size=size)
        right = data.prepare(DIGITS, size=size)
        np.testing.assert_array_equal(data.prepare(made, size=size), right)
    flat = DIGITS[:, 3:20, 1:27]
    np.testing.assert_array_equal(Distortion()(flat, SAMPLES, 1, 0), flat)


def test_each_distortion_goes_where_its_name_says():
    """A spot, seen from the centre, and where the middle of its ink goes."""
    near = np.maximum(0, 1 - np.abs(np.indices((41, 41)).T - (12, 29)) / 4).prod(axis=-1).T
    image = np.rint(255 * near)[np.newaxis].astype(np.uint8)  # 8 above the centre, 9 to the right
    sample = np.array([3])
    for name, right in {
        "shift": lambda d: (-8 + d["shift_down"], 9 + d["shift_right"]),
        "scale": lambda d: (-8 * (1 + d["scale"]), 9 * (1 + d["scale"])),
        "squeeze": lambda d: (-8 * (1 + d["squeeze"]), 9 / (1 + d["squeeze"])),
        "shear": lambda d: (-8, 9 + 8 * d["shear"]),
    }.items():
        distortion = Distortion(**{name: 3 if name == "shift" else 0.4})
        made = distortion(image, sample, 1, 1)[0].astype(np.float64)
        middle = np.tensordot(np.indices((41, 41)) - 20, made) / made.sum()
        drawn = {key: float(values[0]) for key, values in distortion.draw(sample, 1, 1).items()}
        expected = np.array(right(drawn))
        np.testing.assert_allclose(middle, expected, atol=0.05)
        assert np.abs(expected - (-8, 9)).max() > 0.5, name
    turned = Distortion(rotation=90)
    angle = np.deg2rad(turned.draw(sample, 1, 1)["rotation"][0])
    made = turned(image, sample, 1, 1)[0].astype(np.float64)
    down, across = np.tensordot(np.indices((41, 41)) - 20, made) / made.sum()
    assert complex(across, -down) == pytest.approx((9 + 8j) * np.exp(1j * angle), abs=0.05)


# ------------------------------------------------------------------ the same bytes everywhere


@pytest.mark.quick
@pytest.mark.parametrize("distortion", [AFFINE, ALL, WIDEST], ids=["affine", "all", "widest"])
def test_every_backend_has_the_bytes_of_the_reference(backend, distortion, rng):
    flat = rng.integers(0, 256, (9, 7, 18), np.uint8)
    for images, size in ((DIGITS, None), (DIGITS, 33), (flat, None), (flat, 21), (flat[:0], 21)):
        samples = np.arange(len(images)) * 977
        right = distortion(images, samples, 7, 2**63 - 1, size=size, backend="numpy")
        made = distortion(images, samples, 7, 2**63 - 1, size=size, backend=backend)
        np.testing.assert_array_equal(made, right)
        if distortion is not WIDEST and len(images):
            assert right.std() > 20
    for layout, images in layouts(flat):
        made = distortion(images, samples=np.arange(9), epoch=7, seed=1, backend=backend)
        right = distortion(flat, np.arange(9), 7, 1, backend="numpy")
        np.testing.assert_array_equal(made, right, err_msg=layout)


def test_largest_numbers_do_not_overflow(rng):
    """Limits of the ranges, corners of the largest images: positions fit into 32 bits."""
    most = {"shift_down": 100, "shift_right": 100, "scale": 0.5, "squeeze": 0.5, "shear": 1}
    drawn = {name: limit * rng.choice([-1.0, 1.0], 5000) for name, limit in most.items()}
    drawn["rotation"] = rng.uniform(-180, 180, 5000)
    matrices = distort._matrices(drawn, (256, 256), (256, 256)).astype(np.int64)
    corners = np.array([[0, 0, 1], [0, 255, 1], [255, 0, 1], [255, 255, 1]])
    largest = np.abs(matrices @ corners.T).max() + 1000 * 2**18 * 1.05
    assert 2**29 < largest < 2**31


@pytest.mark.parametrize("distortion", [AFFINE, ALL], ids=["affine", "all"])
def test_order_chunks_and_threads_do_not_matter(distortion):
    images, samples = np.tile(DIGITS, (8, 1, 1)), np.arange(320)
    whole = distortion(images, samples, 3, 9, size=32)
    order = np.random.default_rng(0).permutation(320)
    np.testing.assert_array_equal(distortion(images[order], order, 3, 9, size=32), whole[order])
    for k in (0, 130, 319):
        one = distortion(images[k : k + 1], samples[k : k + 1], 3, 9, size=32)
        np.testing.assert_array_equal(one[0], whole[k])
    pool = Pool(3)
    np.testing.assert_array_equal(distortion(images, samples, 3, 9, size=32, pool=pool), whole)
    pool.close()


# ------------------------------------------------------------------ what is drawn


def test_numbers_are_those_of_splitmix64():
    state, gamma = 1234567, 0x9E3779B97F4A7C15
    assert [splitmix64(state + k * gamma) for k in range(3)] == [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423),
    ]  # as published with the generator's code
    ranges = (3, 3, 0.2, 0.2, 0.4, 30)
    for seed, epoch, sample in ((0, 0, 0), (5, 2, 59_999), (2**63 - 1, 2**31 - 1, 2**40)):
        drawn = AFFINE.draw(np.array([sample]), epoch, seed)
        for number, most, name in zip(stream(seed, epoch, sample, 6), ranges, drawn, strict=True):
            assert drawn[name][0] == ((number >> 11) * 2.0**-52 - 1) * most


def test_ranges_are_kept_and_filled():
    drawn = AFFINE.draw(np.arange(20_000), 1, 0)
    assert tuple(drawn) == Distortion.DRAWN
    for values, most in zip(drawn.values(), (3, 3, 0.2, 0.2, 0.4, 30), strict=True):
        assert -most <= values.min() < -0.999 * most
        assert 0.999 * most < values.max() <= most
        share = np.histogram(values, 10, (-most, most))[0] / 2000
        np.testing.assert_allclose(share, 1, atol=0.12)  # five standard deviations
    numbers = np.array(list(drawn.values()))
    for later in (numbers[:, 1:], np.array(list(AFFINE.draw(np.arange(20_000), 2, 0).values()))):
        together = np.corrcoef(numbers[:, : later.shape[1]], later)
        np.testing.assert_allclose(together, np.eye(12), atol=0.04)


def test_every_epoch_seed_and_sample_has_its_own():
    first = ALL(DIGITS, SAMPLES, 1, 0)
    for other in (ALL(DIGITS, SAMPLES, 2, 0), ALL(DIGITS, SAMPLES, 1, 1)):
        assert (other != first).any(axis=(1, 2)).all()
    same = ALL(np.repeat(DIGITS[:1], 40, axis=0), SAMPLES, 1, 0)
    assert len(np.unique(same.reshape(40, -1), axis=0)) == 40


# ------------------------------------------------------------------ descriptions, wrong arguments


def test_a_description_comes_back():
    for distortion in (Distortion(), ALL, *distort.PRESETS.values()):
        assert distort.from_config(distortion.config()) == distortion
    assert str(Distortion()) == "none"
    assert str(Distortion(shift=2, elastic=30)) == "shift 2, elastic 30, smoothness 4"
    assert str(Distortion(shift=2, scale=0.1)) == "shift 2, scale 0.1"
    assert {name for name, value in distort.PAPER.config().items() if value} == {
        *("shift", "scale", "squeeze", "shear", "smoothness"),
    }
    assert distort.ELASTIC.rotation > 0
    assert distort.ELASTIC.elastic > 0


@pytest.mark.parametrize(
    "wrong",
    [None, {}, {"shift": 1}, Distortion().config() | {"shift": -1}, ALL.config() | {"scale": "a"}],
)
def test_what_is_no_description(wrong):
    with pytest.raises(ValueError, match="expected"):
        distort.from_config(wrong)


def test_ranges_that_there_are_not():
    for name, wrong in (
        *(("shift", -1), ("shift", 101), ("scale", 0.6), ("squeeze", 1), ("shear", 1.5)),
        *(("rotation", 181), ("elastic", np.inf), ("smoothness", 0.4), ("smoothness", np.nan)),
    ):
        with complains(name):
            Distortion(**{name: wrong})
    with complains("shift", TypeError):
        Distortion(shift="2")
    with pytest.raises(AttributeError):
        AFFINE.shift = 3


def test_wrong_arguments():
    with complains("images", TypeError):
        AFFINE(DIGITS / 255, SAMPLES, 1, 0)
    for images in (DIGITS[0], DIGITS[:, :0], np.zeros((1, 257, 3), np.uint8)):
        with complains("images"):
            AFFINE(images, SAMPLES, 1, 0)
    with complains("samples", TypeError):
        AFFINE(DIGITS, SAMPLES / 2, 1, 0)
    with complains("samples", got="39"):
        AFFINE(DIGITS, SAMPLES[1:], 1, 0)
    with complains("samples", got="-20"):
        AFFINE(DIGITS, SAMPLES - 20, 1, 0)
    with complains("samples", got="(1, 40)"):
        AFFINE(DIGITS, SAMPLES[None], 1, 0)
    with complains("size", got="27"):
        AFFINE(DIGITS, SAMPLES, 1, 0, size=27)
    with complains("epoch"):
        AFFINE(DIGITS, SAMPLES, -1, 0)
    with complains("seed"):
        AFFINE(DIGITS, SAMPLES, 1, -1)
    with complains("backend"):
        AFFINE(DIGITS, SAMPLES, 1, 0, backend="fortran")


IMAGES, MATRICES = DIGITS[:3], np.zeros((3, 2, 3), np.int32)
FIELDS, OUT = np.zeros((3, 2, 20, 24), np.int32), np.zeros((3, 20, 24), np.uint8)
KEYS, WEIGHTS = np.zeros(3, np.uint64), np.zeros((20, 20), np.float32)


@pytest.mark.parametrize(
    ("name", "wrong", "kind"),
    [
        ("images", IMAGES / 255, TypeError),
        ("images", IMAGES[:2], ValueError),
        ("images", np.zeros((3, 257, 3), np.uint8), ValueError),
        ("matrices", MATRICES.astype(np.int64), TypeError),
        ("matrices", MATRICES[:, :1], ValueError),
        ("fields", FIELDS.astype(np.float32), TypeError),
        ("fields", FIELDS[:0], ValueError),
        ("fields", FIELDS[..., :23], ValueError),
        ("out", OUT.tolist(), TypeError),
        ("out", OUT[:2], ValueError),
        ("out", OUT[..., ::2], ValueError),
        ("out", IMAGES, ValueError),
    ],
)
def test_the_border_of_warping_trusts_nobody(name, wrong, kind):
    arguments = {"images": IMAGES, "matrices": MATRICES, "fields": FIELDS, "out": OUT}
    assert warping.warp(**arguments) is OUT
    assert warping.warp(**arguments | {"fields": None}) is OUT
    with pytest.raises(kind, match="expected"):
        warping.warp(**arguments | {name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong", "kind"),
    [
        ("keys", KEYS.astype(np.int64), TypeError),
        ("keys", KEYS[None], ValueError),
        ("down", WEIGHTS.astype(np.float64), TypeError),
        ("down", WEIGHTS[:, :19], ValueError),
        ("across", WEIGHTS[0], ValueError),
        ("factor", "1", TypeError),
        ("factor", np.nan, ValueError),
    ],
)
def test_the_border_of_noise_trusts_nobody(name, wrong, kind):
    arguments = {"keys": KEYS, "down": WEIGHTS, "across": WEIGHTS, "factor": 1.0}
    assert warping.smooth_noise(**arguments).shape == (3, 2, 20, 20)
    with complains(name, kind):
        warping.smooth_noise(**arguments | {name: wrong})
