"""Digits as the older networks saw them."""

import numpy as np
import pytest
from helpers import require

from lenet_fast import data, models


@pytest.fixture(scope="module")
def digits():
    return data.load("sample").test.subset(200)


@pytest.mark.parametrize(
    ("convert", "margin", "size"), [(data.as_1989, 0, 16), (data.as_1990, 1, 24)]
)
def test_reduced_digits_are_those_of_pytorch(convert, margin, size, digits):
    torch = require("torch")
    wide = np.pad(digits.images, ((0, 0), (margin, margin), (margin, margin)))
    small = torch.nn.functional.interpolate(
        torch.tensor(wide[:, None], dtype=torch.float64),
        (size, size),
        mode="bilinear",
        antialias=True,
    )
    found = convert(digits)
    paper = (found.images.shape[1] - size) // 2
    inner = found.images[:, paper : paper + size, paper : paper + size]
    # Our float32 and their float64 may fall on two sides of a half.
    difference = np.abs(inner - np.rint(small[:, 0].numpy()))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    assert found.images.sum() == inner.sum() > 0
    np.testing.assert_array_equal(found.labels, digits.labels)


def test_reduced_digits_fit_their_networks(digits):
    for convert, make, side in (
        (data.as_1989, models.lenet1989, 16),
        (data.as_1990, models.lenet1, 28),
    ):
        found, network = convert(digits), make()
        assert found.images.shape == (200, side, side)
        assert found.name == f"{digits.name}-{16 if side == 16 else 24}x{16 if side == 16 else 24}"
        paper, ink = network.pixel_range
        x = data.prepare(found.images, size=side, background=paper, ink=ink)
        np.testing.assert_allclose(network.predict(found.images), network.predict(x), atol=1e-5)


def test_digits_are_fitted_to_what_a_network_sees(digits):
    np.testing.assert_array_equal(data.fitted(digits.images, 16), data.as_1989(digits).images)
    for size in (28, 32):
        assert data.fitted(digits.images, size) is digits.images
    small = data.as_1989(digits).images
    assert data.fitted(small, 16) is small


def test_enlarged_digits_fill_the_box_of_mnist(digits):
    small = data.as_1989(digits)
    found = data.as_mnist(small)
    assert found.name == f"{small.name}-20x20"
    assert found.images.shape == (200, 28, 28)
    inner = found.images[:, 4:24, 4:24]
    assert found.images.sum(dtype=int) == inner.sum(dtype=int) > 0
    mean, before = inner.mean(axis=(1, 2)), small.images.mean(axis=(1, 2))
    np.testing.assert_allclose(mean, before, rtol=0.05)  # as dark as before
    with pytest.raises(ValueError, match="dataset: expected images of 16x16"):
        data.as_mnist(digits)


def test_digits_of_another_size_are_refused(digits):
    with pytest.raises(ValueError, match=r"dataset: expected images of 28x28, got \(200, 16, 16\)"):
        data.as_1990(data.as_1989(digits))
