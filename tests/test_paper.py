"""Digits on paper in any light: photographs made by the benchmark, and what it stands on."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from benchmarks import photographs
from lenet_fast.data import centre, looks_inverted, morphology, sources
from lenet_fast.data.resizing import resize

RANDOM = np.random.default_rng(11)

KINDS = [
    *("light falls to the right by 20 %", "light falls to the right by 50 %, pencil"),
    *("light falls to a corner by 30 %", "light falls to both sides by 50 %", "vignette of 50 %"),
    *("soft shadow over a corner, 15 %", "soft shadow over a corner, 50 %", "spot of a lamp, 50 %"),
    *("sharp shadow over a corner, 30 %", "shadow of a hand, 30 %", "two shadows of 25 %"),
    *("light falls by 30 %, and a shadow of 30 %", "black frame of 1 px", "black frame of 20 px"),
    *("blue frame of 4 px, pencil", "white frame of 12 px", "rounded frame"),
    *("black frame of 2 px, 15 px inside, pencil", "black bars left and right"),
    "shadow of a hand, 50 %, pencil",
    *("grey bars top and bottom", "black strip on three sides", "on a table of 60"),
    *(
        "on a dark table, light falls by 30 %",
        "wide grey bars",
        "small on a dark table",
        "on a wooden table",
    ),
    *("ruled sheet, lines 190", "ruled sheet, lines 110", "squared sheet, lines 190"),
    *("squared sheet, lines 150", "ruled askew, lines 170", "isometric paper 190"),
    *("dotted paper 150", "ruled with a margin", "fold of 150 near the edge", "folded twice"),
    *("fold askew", "crumpled, 12 %", "punched holes, pencil", "staple", "specks, 0.2 %"),
    *("tiny digit, light falls by 40 %", "thick marker, light falls by 40 %", "in a corner"),
    *("blackboard, light falls by 50 %", "dark screen, reflection", "blackboard, white frame"),
]


def quick_of_each_group(kinds):
    """Return the kinds, all but the first of each group marked as slow."""
    groups = [photographs.SHEETS[kind].group for kind in kinds]
    return [
        pytest.param(kind, marks=[pytest.mark.slow] if groups[k] in groups[:k] else [])
        for k, kind in enumerate(kinds)
    ]


@pytest.fixture(scope="module")
def digits():
    return sources.load_sample().test.images


@pytest.mark.parametrize("kind", quick_of_each_group(KINDS))
def test_a_digit_is_cut_out_of_a_photograph(digits, kind):
    alike = []
    for k in range(3):
        random = np.random.default_rng([k, *kind.encode()])
        sheet = photographs.made(photographs.SHEETS[kind], digits[k], random)
        expected = centre(digits[k]).astype(float)
        if photographs.SHEETS[kind].pen:  # a thicker digit is another
            expected = ndimage.grey_dilation(expected, (3, 3))
        got = centre(sheet).astype(float)
        alike.append(float(np.corrcoef(got.ravel(), expected.ravel())[0, 1]))
    # One may lose a faint stroke; a shadow or a frame taken for ink leaves nothing alike.
    assert np.median(alike) > 0.8, alike


def test_a_digit_on_finely_squared_paper(digits):
    # Thousands of lines cross so many squares; only so many are looked at.
    sheet = np.full((300, 260), 215.0)
    sheet[::10] = sheet[:, ::10] = 190
    ink = resize(digits[0] / 255, 160, 160)
    part = sheet[70:230, 50:210]
    part += ink * (40 - part)
    sheet += np.random.default_rng(1).normal(0, 2, sheet.shape)
    got = centre(np.rint(sheet).astype(np.uint8)).astype(float)
    assert np.corrcoef(got.ravel(), centre(digits[0]).ravel())[0, 1] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "dark"), [("even", True), ("light", True), ("around", True), ("chalk", False)]
)
def test_ink_and_paper_are_not_exchanged(digits, group, dark):
    kinds = [name for name, sheet in photographs.SHEETS.items() if sheet.group == group]
    kinds = [name for name in kinds if not name.startswith("whiteboard")]
    right = [
        looks_inverted(photographs.made(photographs.SHEETS[name], digits[k], RANDOM)) == dark
        for k, name in enumerate(kinds[::3])
    ]
    assert np.mean(right) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    "light", [photographs.falls(0.5, (0, 1)), photographs.vignette(0.5), photographs.glare]
)
def test_blank_sheets_in_uneven_light_are_blank(light):
    blank = light(RANDOM, np.full((300, 260), 215.0)) + RANDOM.normal(0, 2, (300, 260))
    with pytest.raises(ValueError, match="blank"):
        centre(blank.clip(0, 255).astype(np.uint8))


def test_thick_digits_on_even_paper_are_no_shadows(digits):
    for digit in (digits[k] for k in (15, 114, 227, 580, 776, 777, 792, 794)):
        page = Image.new("L", (150, 120), 255)
        page.paste(Image.fromarray(255 - digit).resize((84, 84)), (50, 10))
        assert np.corrcoef(centre(np.asarray(page)).ravel(), digit.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("bright", [False, True])
def test_enlarged_digits_are_cut_out_as_they_are(digits, bright):
    """Also where gaps between strokes are narrower than these."""
    for digit in (digits[k] for k in (972, 774, 600, 744, 630, 132, 786, 996)):
        large = np.kron(digit, np.ones((10, 10), np.uint8))
        got = centre(large if bright else 255 - large)
        assert np.corrcoef(got.ravel(), centre(digit).ravel())[0, 1] > 0.8


BLANK = [
    *("even light", "light falls to the right by 50 %", "vignette of 50 %", "black frame of 3 px"),
    *("grey frame of 12 px", "rounded frame", "on a table of 60", "sharp shadow of a phone, 50 %"),
    *("sharp shadow over a corner, 50 %", "ruled sheet, lines 190", "fold of 150 anywhere"),
    *("blackboard, lamp", "blackboard, bright wall around", "dark screen, reflection"),
]


@pytest.mark.parametrize("k", range(3))
@pytest.mark.parametrize("kind", quick_of_each_group(BLANK))
def test_a_sheet_without_a_digit_is_refused(kind, k):
    random = np.random.default_rng([k, *kind.encode()])
    sheet = photographs.made(photographs.SHEETS[kind], np.zeros((28, 28), np.uint8), random)
    with pytest.raises(ValueError, match=r"expected (a|one) digit, got"):
        centre(sheet)


def test_two_digits_far_apart_are_refused(digits):
    sheet = np.full((200, 400), 215.0)
    for k, left in ((0, 20), (1, 270)):
        sheet[50:162, left : left + 112] -= 0.6 * np.kron(digits[k], np.ones((4, 4)))
    with pytest.raises(ValueError, match="expected one digit, got several things on the sheet"):
        centre(sheet + RANDOM.normal(0, 2, sheet.shape))


def test_a_one_from_edge_to_edge_is_no_line():
    page = np.full((200, 180), 220.0) + RANDOM.normal(0, 1, (200, 180))
    page[4:196, 88:93] = 40
    got = centre(page)
    assert int((got.max(axis=1) > 100).sum()) == 20


# --- morphology ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 3, 7, 31])
@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (30, 21)])
def test_morphology_agrees_with_scipy(shape, side):
    image = RANDOM.normal(size=shape)
    square = {"size": (side, side), "mode": "constant"}
    np.testing.assert_array_equal(
        morphology.dilated(image, side), ndimage.maximum_filter(image, **square, cval=-np.inf)
    )
    np.testing.assert_array_equal(
        morphology.eroded(image, side), ndimage.minimum_filter(image, **square, cval=np.inf)
    )
    np.testing.assert_array_equal(
        morphology.eroded(image > 0, side),
        ndimage.binary_erosion(image > 0, np.ones((side, side)), border_value=1),
    )
    inside = ndimage.uniform_filter(np.ones(shape), side, mode="constant")
    np.testing.assert_allclose(
        morphology.averaged(image, side),
        ndimage.uniform_filter(image, side, mode="constant") / inside,
        atol=1e-12,
    )


@pytest.mark.parametrize("way", morphology.WAYS[1:])
def test_turned_squares_agree_with_scipy(way):
    image = RANDOM.normal(size=(30, 41))
    spot = np.zeros((61, 61))
    spot[30, 30] = 1
    square = morphology.dilated(spot, 15, way) > 0
    assert 12**2 <= square.sum() <= 16**2
    for got, expected in (
        (morphology.dilated, ndimage.grey_dilation),
        (morphology.eroded, ndimage.grey_erosion),
    ):
        lowest = -np.inf if got is morphology.dilated else np.inf
        np.testing.assert_array_equal(
            got(image, 15, way), expected(image, footprint=square, mode="constant", cval=lowest)
        )


def test_parts_agree_with_scipy():
    for density in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0):
        for shape in ((1, 1), (1, 30), (30, 1), (25, 40)):
            mask = RANDOM.random(shape) < density
            got = morphology.parts(mask)
            expected, total = ndimage.label(mask, np.ones((3, 3)))
            assert got.total == total
            pairs = set(zip(got.numbers.ravel().tolist(), expected.ravel().tolist(), strict=True))
            assert len(pairs) == total + (not mask.all())


@pytest.mark.parametrize("beyond", [False, True])
def test_closing_keeps_edges_and_wipes_strokes_out(beyond):
    image = np.ones((40, 40))
    image[:, 25:] = 0.5  # a shadow
    image[10:20, 5:8] = 0.0
    expected = image.copy()
    expected[10:20, 5:8] = 1.0
    np.testing.assert_array_equal(morphology.closed(image, 7, beyond=beyond), expected)
    image[:2] = 0.0  # a strip at the border
    strip = morphology.closed(image, 7, beyond=beyond)[0, 0]
    assert strip == (0.0 if beyond else 1.0)
