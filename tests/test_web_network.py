"""The page's own forward and backward pass, in Chromium, against those of the engines."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from drawn_digits import DIGITS, PLACES, painted, placed
from helpers import new_rng, require
from page_cases import serving

from lenet_fast import data, layers, models
from lenet_fast.layers import Conv2D, Dense, Dropout, Dropout2D, MaxPool2D, Subsample2D
from lenet_fast.network import Network
from lenet_fast.web import drawings, server, snapshots
from lenet_fast.web.manager import TrainingManager

require("playwright")

SAMPLE = data.load("sample")
Page = Any

RUN = """async ({ described, pixels, size, all, inverted, backward }) => {
    const { Network } = await import("/static/network.js");
    const { decoded } = await import("/static/unpack.js");
    const { prepare } = await import("/static/images.js");
    const network = new Network(described);
    const bytes = decoded(pixels);
    const side = Math.sqrt(size);
    const found = { outputs: [], values: [], digits: [], layers: [], gradients: [], inputs: [] };
    for (let k = 0; k < bytes.length / size; k++) {
        const pixels = bytes.subarray(k * size, (k + 1) * size);
        const image = { rows: side, columns: side, pixels };
        const trace = network.forward(prepare(image, network, inverted));
        found.outputs.push(Array.from(trace.outputs.at(-1)));
        found.digits.push([trace.digit, trace.second, ...trace.order]);
        found.values.push(trace.values);
        if (k >= all) continue;
        found.inputs.push(Array.from(trace.input));
        if (!backward) continue;
        const dy = Float32Array.from(network.classes, (_, c) => Math.cos(c + k));
        const { input, outputs } = network.backward(trace, dy);
        found.layers.push(trace.outputs.map((each) => Array.from(each)));
        found.gradients.push([input, ...outputs].map((each) => Array.from(each)));
    }
    return found;
}"""


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: Any) -> Iterator[Page]:
    """Yield an empty page of the server, which may import its modules."""
    taught = TrainingManager(SAMPLE, tmp_path_factory.mktemp("saved"), models.lenet1(), "a model")
    with serving(taught) as served:
        context = browser.new_context()
        opened = context.new_page()
        opened.goto(server.address(served, "127.0.0.1") + "static/network.js")
        yield opened
        context.close()


def everything() -> Network:
    """Return a network with the layers, options and activations that the papers' networks lack."""
    links = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.bool_)
    body = [
        Conv2D(1, 6, (3, 5), stride=(1, 2), padding=(2, 1, 0, 3), pad_value=-0.3, bias="unit"),
        layers.LeakyReLU(0.2),
        Conv2D(6, 4, (3, 2), dilation=(2, 3), groups=2, connections=links, bias=None),
        layers.ELU(0.7),
        Dropout2D(0.3),
        Subsample2D(4, (2, 3), (1, 2), reduction="mean", multiplier=2),
        layers.GELU(),
        MaxPool2D((3, 2), (2, 1), ties="all"),
        layers.GELU("tanh"),
        layers.AvgPool2D((2, 2), (1, 2)),
        layers.Sigmoid(),
    ]
    shape = (1, 27, 27)
    for layer in body:
        shape = layer.output_shape(shape)
    body += [Dense(int(np.prod(shape)), 30), layers.Tanh(), Dropout(0.5)]
    rng = new_rng()
    centres = rng.normal(size=(7, 30))
    network = Network(
        [*body, layers.RBF(30, 7, centres=centres)], input_shape=(1, 27, 27), output="rbf"
    )
    for array in network.parameters.values():
        array += rng.normal(0, 0.3, array.shape)
    network.parameters["conv2.w"][np.repeat(~links, 1, 0)] = 0
    return network


NETWORKS = {
    "lenet5": (models.lenet5(), 1000),
    "lenet5-max": (models.lenet5(pooling="max", output="softmax", activation="relu"), 1000),
    "lenet5-average": (models.lenet5(pooling="average", output="linear", connections="full"), 300),
    "lenet5-none": (models.lenet5(pooling=None, output="softmax"), 10),
    "lenet4": (models.lenet4(), 1000),
    "lenet4-softmax": (models.lenet4(output="softmax"), 100),
    "lenet1": (models.lenet1(), 1000),
    "lenet1989": (models.lenet1989(), 1000),
    "float64": (models.lenet5(dtype="float64", pooling="max"), 100),
    "everything": (everything(), 300),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_engines_do(page: Page, name: str) -> None:
    network, count = NETWORKS[name]
    if name == "lenet1":
        network.reduced = True
    size = network.input_shape[1]
    given = SAMPLE.test.images[:count]
    given = given[:, 1:, :-1] if size == 27 else given
    found = ask(page, network, given, all=3)
    seen = data.fitted(given, size, reduced=network.reduced)
    expected = network.predict(seen)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found["outputs"], expected, atol=1e-4 * scale, rtol=0)
    digits = np.array(found["digits"])
    clear = gaps(network, expected) > 2e-4 * scale
    assert clear.mean() > 0.7
    np.testing.assert_array_equal(digits[clear, 0], network.classify_outputs(expected)[clear])
    np.testing.assert_array_equal(digits[:, :2], digits[:, 2:4])
    values = network.probabilities(expected) if network.output == "softmax" else expected
    np.testing.assert_allclose(found["values"], values, atol=1e-4 * scale, rtol=0)
    for k in range(3):
        x = data.prepare(
            seen[k : k + 1],
            size=size,
            background=network.pixel_range[0],
            ink=network.pixel_range[1],
        ).astype(network.dtype)
        np.testing.assert_array_equal(found["inputs"][k], x.astype(np.float32).ravel())
        dy = np.cos(np.arange(len(network.classes)) + k)[np.newaxis].astype(network.dtype)
        steps = passed_back(network, x, dy)
        close(found["layers"][k], [y for _, y in steps])
        close(found["gradients"][k], [gradient for gradient, _ in steps] + [dy])


def test_images_are_shrunk_as_in_python(page: Page) -> None:
    """Byte by byte: to 16x16 for the network of 1989, and as for that of 1990."""
    for network in (models.lenet1989(), models.lenet1()):
        network.reduced = network.input_shape[1] == 28
        size = network.input_shape[1]
        found = ask(page, network, SAMPLE.test.images[:400], all=400, backward=False)["inputs"]
        seen = data.fitted(SAMPLE.test.images[:400], size, reduced=network.reduced)
        low, high = network.pixel_range
        expected = data.prepare(seen, size=size, background=low, ink=high)
        off = np.abs(np.array(found, np.float32) - expected.reshape(400, -1))
        # Where a pixel lies half-way between two bytes, the order of BLAS's sum decides; that of
        # OpenBLAS with fused multiply-adds is known.
        assert off.max() <= 1.01 * (high - low) / 255
        assert (off > 0).mean() < 1e-4


def ask(
    page: Page,
    network: Network,
    images: np.ndarray,
    all: int,
    inverted: bool = False,
    backward: bool = True,
) -> Any:
    described = snapshots.NetworkSnapshot(network, 0, "").describe()
    given = {
        "described": json.loads(json.dumps(described, sort_keys=True)),
        "pixels": base64.b64encode(images.tobytes()).decode(),
        "size": images[0].size,
        "all": all,
        "inverted": inverted,
        "backward": backward,
    }
    return page.evaluate(RUN, given)


def gaps(network: Network, outputs: np.ndarray) -> np.ndarray:
    best = np.sort(outputs if network.output == "rbf" else -outputs, axis=1)
    return best[:, 1] - best[:, 0]


def passed_back(network: Network, x: np.ndarray, dy: np.ndarray) -> list[tuple[Any, Any]]:
    """Return the gradient at the input of each layer, and the layer's output."""
    xs = [x]
    for layer in network.layers:
        xs.append(layer.forward(xs[-1], "numpy"))
    steps = []
    for k, layer in reversed([*enumerate(network.layers)]):
        dy = layer.backward(dy.reshape(xs[k + 1].shape), xs[k], xs[k + 1], "numpy")[0]
        steps.append((dy, xs[k + 1]))
    return steps[::-1]


def close(found: list[list[float]], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        scale = max(1e-3, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other.ravel(), atol=1e-4 * scale, rtol=0)


def test_gradients_favour_the_class_they_are_asked_for(page: Page) -> None:
    """Along the gradient, class 3 gains on class 8."""
    for network in (models.lenet5(), models.lenet5(output="softmax"), models.lenet4()):
        described = snapshots.NetworkSnapshot(network, 0, "").describe()
        before, after = page.evaluate(
            """async ({ described, input }) => {
                const { Network } = await import("/static/network.js");
                const network = new Network(described);
                const x = Float32Array.from(input);
                const trace = network.forward(x);
                const gradient = network.gradient(trace, 3, 8);
                const step = 0.1 / Math.max(...gradient.map(Math.abs));
                const moved = network.forward(x.map((value, k) => value + step * gradient[k]));
                return [trace, moved].map(({ values }) => [values[3], values[8]]);
            }""",
            {
                "described": json.loads(json.dumps(described, sort_keys=True)),
                "input": data.prepare(SAMPLE.test.images[:1]).ravel().tolist(),
            },
        )
        gained = (after[0] - after[1]) - (before[0] - before[1])
        assert (gained < 0) == (network.output == "rbf")


def test_networks_of_dark_ink_see_dark_ink(page: Page) -> None:
    network = models.lenet5(output="softmax", pooling="max")
    images = SAMPLE.test.images[:3]
    expected = network.predict(images)
    network.inverted = True
    for seen in (
        ask(page, network, 255 - images, all=0, inverted=True),
        ask(page, network, images, all=0),
    ):
        turned = network.predict(255 - images)
        np.testing.assert_allclose(seen["outputs"], turned, atol=1e-4)
        assert not np.allclose(seen["outputs"], expected, atol=1e-2)


def test_drawings_become_the_images_that_python_makes(page: Page) -> None:
    """Of strokes in every place and width, of digits in many sizes, of blank and of full paper."""
    rng = new_rng()
    drawn = [painted(*placed(digit, place)) for digit in DIGITS for place in PLACES]
    for digit in SAMPLE.test.images[:20]:
        rows, columns = rng.integers(20, 160, 2)
        resized = data.images.resize(digit.astype(float), rows, columns)
        paper = np.zeros((160, 160))
        top, left = rng.integers(0, 161 - rows), rng.integers(0, 161 - columns)
        paper[top : top + rows, left : left + columns] = resized
        drawn.append(paper)
    blank = np.zeros((112, 112))
    faint = blank + 10 * (rng.random(blank.shape) > 0.5)
    drawn += [blank, blank + 255, faint]
    given = [np.rint(each).astype(np.uint8) for each in drawn]
    found = page.evaluate(
        """async (drawn) => {
            const { fromCanvas } = await import("/static/images.js");
            const { decoded } = await import("/static/unpack.js");
            return drawn.map(([rows, columns, pixels]) => {
                const image = fromCanvas({ rows, columns, pixels: decoded(pixels) });
                return image && Array.from(image.pixels);
            });
        }""",
        [[*each.shape, base64.b64encode(each.tobytes()).decode()] for each in given],
    )
    expected = [drawings.from_canvas(each.tolist()) for each in given]
    assert found[-3:] == [None, None, None] == expected[-3:]
    for k, (one, other) in enumerate(zip(found[:-3], expected[:-3], strict=True)):
        zero = k < len(PLACES)
        image = np.array(one, np.uint8).reshape(28, 28)
        # A symmetrical zero has its centre of mass half-way between two pixels.
        moved = [np.roll(image, (r, c), (0, 1)) for r in (0, -1, 1) for c in (0, -1, 1)]
        assert any(np.array_equal(each, other) for each in (moved if zero else [image]))


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5-max", "lenet5-average", "lenet1989", "everything"]
)
def test_the_terms_of_every_unit_add_up_to_its_value(page: Page, name: str) -> None:
    """Those that the page shows, of convolutions with all options, pooling, and dense layers."""
    network, _ = NETWORKS[name]
    described = snapshots.NetworkSnapshot(network, 0, "").describe()
    input_ = new_rng().normal(size=network.input_shape)
    worst = page.evaluate(
        """async ({ described, input }) => {
            const { Network } = await import("/static/network.js");
            const { explain } = await import("/static/units.js");
            const network = new Network(described);
            const trace = network.forward(Float32Array.from(input));
            return [...network.stages, network.answer].map((stage) => {
                const [maps, rows, columns] = stage.shape;
                const expected = trace.outputs[stage.first];
                const scale = Math.max(...expected.map(Math.abs));
                let worst = 0;
                for (let k = 0; k < expected.length; k++) {
                    const map = Math.floor(k / (rows * columns));
                    const unit = [map, Math.floor(k / columns) % rows, k % columns];
                    const { sum, chain } = explain(network, trace, stage, unit);
                    worst = Math.max(worst, Math.abs(sum - expected[k]) / scale);
                    const end = chain.length ? chain.at(-1).value : expected[k];
                    if (end !== trace.outputs[stage.last][k]) worst = Infinity;
                }
                return worst;
            });
        }""",
        {
            "described": json.loads(json.dumps(described, sort_keys=True)),
            "input": input_.ravel().tolist(),
        },
    )
    assert max(worst) < 1e-5
