"""Exported programs: compiled, and compared with the networks that they come from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line
from helpers import missing, new_rng
from network_cases import NETWORKS

from lenet_fast import data, export, files, layers, models
from lenet_fast.export import c_main, stages
from lenet_fast.export.c_text import number
from lenet_fast.export.fixed import INTERVALS, REACH, SUMS, TABLE, Function, scaled
from lenet_fast.layers import Conv2D, Dense, ReLU, Subsample2D
from lenet_fast.network import Network
from lenet_fast.training import Trainer

SAMPLE = data.load("sample")
COMPILERS = {
    "gcc": ("gcc",),
    "clang": ("clang", *(f"clang-{version}" for version in range(20, 13, -1))),
}
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITISED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compiler(name: str) -> str:
    """Return a C compiler, or leave the test out."""
    found = next(filter(None, map(shutil.which, COMPILERS[name])), None)
    if found is None and name == "gcc":
        missing("there is no gcc")
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


def build(source: Path, *flags: str, cc: str = "gcc") -> Path:
    """Compile a program, with the sanitizers of gcc; Debian's clang comes without."""
    command = [compiler(cc), *STRICT, *(SANITISED if cc == "gcc" else ("-O2",)), *flags]
    program = source.with_suffix("")
    libraries = [] if any("NO_LIBM" in flag for flag in flags) else ["-lm"]
    subprocess.run([*command, str(source), "-o", str(program), *libraries], check=True)
    return program


def outputs(program: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes and outputs that a program prints for images that it reads as bytes."""
    done = subprocess.run([str(program)], input=images.tobytes(), capture_output=True, check=True)
    rows = np.array([line.split() for line in done.stdout.splitlines()], float)
    return rows[:, 0].astype(int), rows[:, 1:]


def noise(network: Network, count: int) -> np.ndarray:
    """Return random bytes in the size that the program of a network reads."""
    maps, h, w = network.input_shape
    if (h, w) == (32, 32):
        h = w = 28
    return new_rng().integers(0, 256, (count, maps, h, w), np.uint8)


def expected(network: Network, images: np.ndarray) -> np.ndarray:
    """Return a network's outputs for bytes (n, c, h, w), by its floats."""
    _, h, w = network.input_shape
    top, left = (h - images.shape[2]) // 2, (w - images.shape[3]) // 2
    padded = np.zeros((len(images), *network.input_shape))
    padded[:, :, top : top + images.shape[2], left : left + images.shape[3]] = images / 255
    background, foreground = network.pixel_range
    x = background + padded * (foreground - background)
    return network.predict(x.astype(network.dtype))


# --- in float ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("libm", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_c_computes_what_the_network_does(name: str, libm: bool, cc: str, tmp_path: Path) -> None:
    network = NETWORKS[name]("float64" if name == "max" else "float32")
    done = export.to_c(network, tmp_path, name="net")
    flags = ["-DNET_MAIN"] if libm else ["-DNET_MAIN", "-DNET_NO_LIBM"]
    program = build(done.files[0], *flags, cc=cc)
    images = noise(network, 10)
    classes, y = outputs(program, images)
    wanted = expected(network, images)
    assert abs(y - wanted).max() <= 1e-5 * max(abs(wanted).max(), 1)
    assert np.array_equal(classes, network.winners(y))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet1989", "lenet1", "lenet4", "lenet5"])
def test_a_thousand_digits_under_the_sanitizers(name: str, tmp_path: Path) -> None:
    network = getattr(models, name)()
    images = data.fitted(SAMPLE.test.images[:1000], network.input_shape[-1])
    train = data.fitted(SAMPLE.train.images[:1000], network.input_shape[-1])
    assert len(images) == 1000
    classes, y = outputs(build(export.to_c(network, tmp_path).files[0], "-DLENET_MAIN"), images)
    wanted = network.predict(images)
    assert abs(y - wanted).max() <= 1e-5 * max(abs(wanted).max(), 1)
    assert np.array_equal(classes, network.winners(y))
    quantised = export.quantise(network, train)
    done = export.to_c(quantised, tmp_path, overwrite=True)
    _, y = outputs(build(done.files[0], "-DLENET_MAIN"), images)
    np.testing.assert_allclose(y, quantised.predict(images), rtol=1e-8)


OWN = """\
{own}
#include <stdio.h>
int main(void)
{{
    for (int i = -40000; i <= 40000; i++) {{
        float x = (float)i / 400;
        printf("%.9g %.9g %.9g %.9g %.9g\\n", x, expm1f(x < 88 ? x : 88), expf(x < 88 ? x : 88),
               tanhf(x), erff(x));
    }}
    return 0;
}}
"""


def test_its_own_functions_are_as_exact_as_it_says(tmp_path: Path) -> None:
    special = pytest.importorskip("scipy.special")
    source = tmp_path / "own.c"
    source.write_text(OWN.format(own="".join(c_main.OWN.values())))
    done = subprocess.run([build(source, "-DNO_LIBM")], capture_output=True, check=True)
    x, expm1, exp, tanh, erf = np.loadtxt(done.stdout.decode().splitlines()).T
    place = 2.0**-23  # a unit in the last place of 1
    powers = np.exp(np.minimum(x, 88))
    normal = x > -87  # below, the power itself is a denormal number
    minus_one = np.expm1(np.minimum(x, 88))
    assert (abs(expm1 - minus_one)[normal] <= 2 * place * abs(minus_one)[normal]).all()
    assert (abs(exp - powers) <= 2 * place * np.maximum(powers, 1)).all()
    assert abs(tanh - np.tanh(x)).max() <= 2 * place
    assert abs(erf - special.erf(x)).max() <= 5e-7


def test_the_softmax_of_c(tmp_path: Path) -> None:
    network = models.lenet4(output="softmax")
    done = export.to_c(network, tmp_path)
    main = tmp_path / "main.c"
    main.write_text(
        '#include "lenet.c"\n#include <stdio.h>\nint main(void)\n{\n'
        "    float y[10] = {1, 2, 3, 1000, 5, 6, 7, 8, 9, 999};\n    lenet_softmax(y);\n"
        '    for (int k = 0; k < 10; k++)\n        printf("%.9g ", y[k]);\n    return 0;\n}\n'
    )
    run = subprocess.run([build(main)], capture_output=True, check=True)
    scores = np.array([[1, 2, 3, 1000, 5, 6, 7, 8, 9, 999.0]])
    got = np.array(run.stdout.split(), float)
    np.testing.assert_allclose(got, network.probabilities(scores)[0], rtol=1e-6, atol=1e-30)
    assert "lenet_softmax" in done.files[1].read_text()
    assert "softmax" not in export.to_c(models.lenet5(), tmp_path / "b").files[1].read_text()


def test_layers_may_have_any_name(tmp_path: Path) -> None:
    names = ("int", "2a", "a.b", "a-b", "a_b", "EOF", "main", "outputs", "_x")
    chain = [Dense(4, 4, name=name) for name in names]
    chain[1:1] = [Conv2D(1, 1, 1, name="layer"), Conv2D(1, 1, 1, name="w"), ReLU(name="sum")]
    chain[0] = Conv2D(1, 1, 1, name="int")
    network = Network(chain, input_shape=(1, 2, 2))
    done = export.to_c(network, tmp_path, name="i")
    images = noise(network, 3)
    _, y = outputs(build(done.files[0], "-DI_MAIN"), images)
    assert abs(y - expected(network, images)).max() < 1e-5


def test_the_page_shows_what_is_written(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "export.rst").read_text()
    _, _, rest = page.partition(".. code-block:: c\n\n")
    shown, _, _ = rest.partition("\n\n")
    assert dedent(shown) in export.to_c(models.lenet5(), tmp_path).files[0].read_text()
    assert "C3_maps[k]" in shown


def test_sizes_are_those_of_the_arrays() -> None:
    network = Network([Conv2D(1, 3, 2), ReLU(), Dense(27, 10)], input_shape=(1, 4, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenet_fast.disk.write_atomic", lambda path, content: None)
        patch.setattr(Path, "mkdir", lambda *_, **__: None)
        done = export.to_c(network, "nowhere")
        small = export.to_c(export.quantise(network, noise(network, 5)[:, 0]), "nowhere")
    assert done.flash == 4 * (3 * 4 + 3 + 270 + 10)
    assert done.ram == 4 * (16 + 27)
    assert small.flash == 256 + 12 + 270 + 4 * 13 + 13  # bytes, weights, biases, shifts
    assert small.ram == 16 + 27


def test_float_numbers_read_back() -> None:
    for value in (0.1, -1e-30, 3e38, 2.0, 1 / 3, 1.5e-45):
        single = np.float32(value)
        text = number(single)
        assert text.endswith("f")
        assert set(text) & set(".e")
        assert np.float32(text[:-1]) == single


# --- its main ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compiled LeNet-1989, which reads 16x16 pixels."""
    folder = tmp_path_factory.mktemp("program")
    return build(export.to_c(models.lenet1989(), folder).files[0], "-DLENET_MAIN")


def run(program: Path, *arguments: object, given: bytes = b"") -> Any:
    return subprocess.run(
        [str(program), *map(str, arguments)], input=given, capture_output=True, check=False
    )


def test_main_reads_bytes_and_pgm(program: Path, tmp_path: Path) -> None:
    image = data.fitted(SAMPLE.test.images[:1], 16)[0]
    (tmp_path / "a.raw").write_bytes(image.tobytes())
    (tmp_path / "a.pgm").write_bytes(b"P5 # a comment\n# 3\n16 16\n255\n" + image.tobytes())
    lines = [run(program, tmp_path / name).stdout for name in ("a.raw", "a.pgm")]
    assert lines[0] == lines[1] == run(program, given=image.tobytes()).stdout
    words = lines[0].split()
    assert int(words[0]) == models.lenet1989().classify(image)
    both = run(program, tmp_path / "a.raw", tmp_path / "a.pgm")
    assert both.stdout == lines[0] + lines[1]
    assert both.returncode == 0


def test_main_centres_smaller_images(program: Path, tmp_path: Path) -> None:
    small = SAMPLE.test.images[0, 8:20, 9:20]  # 12 x 11
    (tmp_path / "a.pgm").write_bytes(b"P5\n11 12\n255\n" + small.tobytes())
    padded = np.zeros((16, 16), np.uint8)
    padded[2:14, 2:13] = small
    assert run(program, tmp_path / "a.pgm").stdout == run(program, given=padded.tobytes()).stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P5\n17 16\n255\n" + bytes(272), b"expected bytes, at most 16 x 16"),
        (b"P5\n16 0\n255\n", b"expected bytes, at most 16 x 16"),
        (b"P5\n16 16\n65535\n" + bytes(512), b"expected bytes, at most 16 x 16"),
        (b"P5\n16", b"expected bytes, at most 16 x 16"),
        (b"P5\n99999999999999999999 16\n255\n", b"expected bytes, at most 16 x 16"),
        (b"P5\n16 16\n255\n" + bytes(255), b"expected 256 bytes, got fewer"),
        (bytes(300), b"expected 256 bytes, got fewer"),
        (b"\0", b"expected 256 bytes, got fewer"),
    ],
)
def test_main_refuses_other_files(
    program: Path, content: bytes, words: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    done = run(program, path)
    assert done.returncode == 1
    assert words in done.stderr
    assert str(path).encode() in done.stderr


def test_main_goes_on_after_a_file_that_is_missing(program: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(256))
    done = run(program, tmp_path / "nowhere", tmp_path / "a")
    assert done.returncode == 1
    assert b"nowhere" in done.stderr
    assert len(done.stdout.splitlines()) == 1


# --- in integers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("values", ["int8", "int16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_c_computes_the_integers_of_the_simulation(
    name: str, values: Any, cc: str, tmp_path: Path
) -> None:
    network = NETWORKS[name]("float32")
    images = noise(network, 10)
    quantised = export.quantise(network, images, values=values)
    done = export.to_c(quantised, tmp_path, name="net")
    classes, y = outputs(build(done.files[0], "-DNET_MAIN", cc=cc), images)
    wanted = quantised.predict(images)
    np.testing.assert_allclose(y, wanted, rtol=1e-8)  # printed with nine digits
    assert np.array_equal(classes, quantised.classify(images))
    text = done.files[0].read_text()
    assert "float" not in text
    assert "double" not in text
    assert "math.h" not in text


@pytest.mark.parametrize(
    "chain",
    [
        [layers.RBF(16, 10, centres=np.linspace(-1, 1, 160).reshape(10, 16))],
        [layers.Dropout(), Dense(16, 10)],
        [layers.LeakyReLU(), ReLU(), layers.MaxPool2D(2), Dense(4, 10), layers.GELU()],
        [layers.MaxPool2D(1), Dense(16, 10), layers.LeakyReLU()],
        [layers.AvgPool2D(3, 1), layers.RBF(4, 3, centres=np.eye(3, 4)), Dense(3, 10), ReLU()],
    ],
    ids=lambda chain: type(chain[0]).__name__,
)
def test_rows_of_layers_that_nobody_has(chain: list[Any], tmp_path: Path) -> None:
    """No function or buffer is left over, which would be a warning of the compiler."""
    output = "rbf" if isinstance(chain[-1], layers.RBF) else "linear"
    network = Network(chain, input_shape=(1, 4, 4), output=output)
    images = noise(network, 5)
    _, y = outputs(build(export.to_c(network, tmp_path).files[0], "-DLENET_MAIN"), images)
    assert abs(y - expected(network, images)).max() < 1e-5 * max(1, abs(y).max())
    quantised = export.quantise(network, images)
    done = export.to_c(quantised, tmp_path, overwrite=True)
    _, y = outputs(build(done.files[0], "-DLENET_MAIN"), images)
    np.testing.assert_allclose(y, quantised.predict(images), rtol=1e-8)


def test_scaled_rounds_as_shifts_of_integers_do() -> None:
    numbers = [0, 1, -1, 5, -5, 7, 8, -8, 1000, -1001, 2**30, -(2**30)]
    for shift in range(1, 31):
        by_shift = [(x + (1 << (shift - 1))) >> shift for x in numbers]
        assert scaled(np.array(numbers, float), shift).tolist() == by_shift
        largest = SUMS >> shift
        up = [max(-largest, min(largest, x)) * 2**shift for x in numbers]
        assert scaled(np.array(numbers, float), -shift).tolist() == up
    mixed = scaled(np.array([[5.0, 5.0, 5.0]]), np.array([1, 0, -2]))
    assert mixed.tolist() == [[3, 5, 20]]


@pytest.mark.parametrize(
    "activation",
    [
        *(layers.ScaledTanh(), layers.Tanh(), layers.Sigmoid(), layers.ELU(), layers.ELU(3.0)),
        *(layers.GELU(), layers.GELU("tanh")),
    ],
    ids=lambda activation: activation.text,
)
def test_tables_are_as_exact_as_the_documentation_says(activation: layers.Activation) -> None:
    x = np.arange(-12 * 2**TABLE, 12 * 2**TABLE)
    function = Function.of(activation)
    exact = activation.forward(x / 2.0**TABLE, "numpy")
    inside = abs(x) <= REACH * 2**TABLE
    error = abs(function(x.astype(float)) / 2.0**function.point - exact)
    largest = 0.0005 * max(activation.option, 1)
    assert largest / 5 < error[inside].max() <= largest
    assert error.max() <= largest  # the tails
    assert function.entries.size == INTERVALS + 1


def test_points_of_a_network_by_hand(tmp_path: Path) -> None:
    network = Network([Dense(4, 2, name="D")], input_shape=(1, 2, 2), pixel_range=(0.0, 1.0))
    network.parameters["D.w"][...] = [[0.5, -0.25, 1.0, 0.0], [3.0, 2.0, 1.0, -100.0]]
    network.parameters["D.b"][...] = [0.125, -1.0]
    images = np.array([[[0, 255], [51, 102]]], np.uint8)  # 0, 1, 0.2, 0.4
    quantised = export.quantise(network, images)
    (stage,) = quantised.stages
    _, y = outputs(build(export.to_c(quantised, tmp_path).files[0], "-DLENET_MAIN"), images)
    assert np.array_equal(y, quantised.predict(images))
    assert quantised.point == 6  # 1 is 64, and 128 would be too large
    assert quantised.pixels[[0, 51, 102, 255]].tolist() == [0, 13, 26, 64]
    assert stage.w.reshape(2, 4).tolist() == [[32, -16, 64, 0], [3, 2, 1, -100]]  # 2^6, 2^0
    assert stage.b.tolist() == [0.125 * 2**12, -(2**6)]
    assert stage.target == 6
    assert stage.shift.tolist() == [6, 0]
    sums = [-16 * 64 + 64 * 13 + 512, 2 * 64 + 13 - 2600 - 64]
    assert (quantised.predict(images)[0] * 64).tolist() == [round(sums[0] / 64), sums[1]]


@pytest.mark.parametrize("values", ["int8", "int16"])
def test_no_image_makes_a_sum_too_large(values: Any) -> None:
    """By the weights, whatever the image; and biases, weights and areas that are large."""
    rng = new_rng()
    chain = [Conv2D(1, 3, 3), ReLU(), Subsample2D(3, 3), Dense(12, 300), Dense(300, 10)]
    network = Network(chain, input_shape=(1, 8, 8))
    for array in network.parameters.values():
        array[...] = rng.normal(0, 10, array.shape)
    quantised = export.quantise(network, noise(network, 50)[:, 0], values=values)
    limit = {"int8": 127, "int16": 32767}[values]
    for stage in quantised.stages:
        weights = abs(stage.w.astype(float)).reshape(len(stage.w), -1).sum(axis=1)
        if isinstance(stage.layer, Subsample2D):
            weights *= 9
        assert (weights * limit + abs(stage.b) <= SUMS).all(), stage.name
        limit = stage.limit
    exact = network.predict(noise(network, 50)[:, 0])
    near = quantised.predict(noise(network, 50)[:, 0])
    assert abs(near - exact).max() < 0.05 * abs(exact).max()


@pytest.mark.parametrize("options", [{}, {"pooling": "max", "output": "softmax"}])
def test_a_trained_network_reads_as_well_in_integers(options: dict[str, Any]) -> None:
    network = models.lenet5(**options)
    train, test = SAMPLE.train, SAMPLE.test
    Trainer(network).fit(train, test, epochs=2, verbose=False)
    wrong = int((network.classify(test.images) != test.labels).sum())
    assert wrong < 200
    for values in ("int8", "int16"):
        quantised = export.quantise(network, train.images, values=values)
        after = int((quantised.classify(test.images) != test.labels).sum())
        assert abs(after - wrong) <= 8


# --- for test benches ----------------------------------------------------------------------------


@pytest.mark.parametrize("values", [None, "int8", "int16"])
@pytest.mark.parametrize("name", ["lenet5", "everything", "activations"])
def test_the_three_formats_have_the_same_numbers(name: str, values: Any, tmp_path: Path) -> None:
    network = NETWORKS[name]("float32")
    image = noise(network, 1)[0]
    model: Any = network
    if values is not None:
        model = export.quantise(network, noise(network, 20), values=values)
    export.to_npz(model, tmp_path / "net.npz", image)
    with np.load(tmp_path / "net.npz") as stored:
        arrays = dict(stored)
    wanted = expected(network, image[np.newaxis])[0]
    last = next(reversed(arrays))
    if values is None:
        np.testing.assert_allclose(arrays[last], wanted, rtol=1e-4, atol=1e-6)
    else:
        assert (arrays[last] * model.unit == model.predict(image[np.newaxis])[0]).all()
        assert {array.dtype.kind for array in arrays.values()} <= set("iu")
    done = export.to_mem(model, tmp_path, image, name="net")
    assert {path.stem for path in done.files[:-1]} == set(arrays)
    assert len(done.files[-1].read_text().splitlines()) == len(arrays)
    for path in done.files[:-1]:
        array = arrays[path.stem]
        comment, *lines = path.read_text().splitlines()
        assert comment.startswith(f"// {path.stem}: {array.dtype} ")
        bits = np.array([int(line, 16) for line in lines], f"u{array.itemsize}")
        assert {len(line) for line in lines} == {2 * array.itemsize}
        assert np.array_equal(bits.view(array.dtype).reshape(array.shape), array)
    headers = export.to_headers(model, tmp_path, image, name="net").files
    check = tmp_path / "check.c"
    prints = [
        f'    for (int i = 0; i < {array.size}; i++)\n        printf("%.9g\\n", '
        f"(double)(({'const ' + kind(array)}*){key})[i]);\n"
        for key, array in arrays.items()
    ]
    includes = "".join(f'#include "{path.name}"\n' for path in headers)
    check.write_text(
        f"{includes}#include <stdio.h>\nint main(void)\n{{\n{''.join(prints)}    return 0;\n}}\n"
    )
    printed = subprocess.run([build(check)], capture_output=True, check=True).stdout.split()
    flat = np.concatenate([array.reshape(-1).astype(float) for array in arrays.values()])
    np.testing.assert_allclose(np.array(printed, float), flat, rtol=1e-8)


def kind(array: np.ndarray) -> str:
    return {"float32": "float "}.get(array.dtype.name, f"{array.dtype.name}_t ")


def test_activations_are_those_of_the_network(tmp_path: Path) -> None:
    network = models.lenet5()
    image = SAMPLE.test.images[3]
    export.to_npz(network, tmp_path / "a.npz", image)
    y = network.activations(image)
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["C3_sum"], y["C3"])
        assert np.array_equal(arrays["C3_y"], y["C3.activation"])
        assert np.array_equal(arrays["OUTPUT_y"], y["OUTPUT"])
        assert arrays["image"].shape == (1, 32, 32)
        links = arrays["C3_first"].tolist(), arrays["C3_maps"][:6].tolist()
        assert links[0][:3] == [0, 3, 6]
        assert links[1] == [0, 1, 2, 1, 2, 3]


# --- what is refused -----------------------------------------------------------------------------


class Odd(layers.Layer):
    label = "odd"

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape


def small(*chain: Any, **options: Any) -> Network:
    return Network([*chain, Dense(16, 10)], input_shape=(1, 4, 4), **options)


def test_every_activation_has_a_function_in_c() -> None:
    functions = {kind().function for kind in layers.ACTIVATIONS.values()}
    assert {*functions, "gelu_tanh"} == set(stages.FUNCTIONS)


class Cube(layers.ReLU):
    function = "cube"  # type: ignore[assignment]


def test_layers_that_it_does_not_know_are_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"got Odd \(strange\)"):
        export.to_c(small(Odd(name="strange")), tmp_path)
    with pytest.raises(TypeError, match=r"got Cube \(third\)"):
        export.to_c(small(Cube(name="third")), tmp_path)
    assert not list(tmp_path.iterdir())
    images = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"a slope of at most 4 .* \(steep\)"):
        export.quantise(small(layers.LeakyReLU(5.0, name="steep")), images)
    with pytest.raises(ValueError, match=r"values fit a table, got ELU\(alpha=9.0\) \(deep\)"):
        export.quantise(small(layers.ELU(9.0, name="deep")), images)


def test_networks_that_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="network: expected a Network, got str"):
        export.to_c("lenet5", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="set its pixel_range"):
        export.to_c(small(pixel_range=None), tmp_path)
    network = small(dtype="float64", pixel_range=(0.0, 1.0))
    network.parameters["dense1.w"][0, 0] = 1e300
    with pytest.raises(ValueError, match=r"that float32 can hold, got larger ones in dense1\.w"):
        export.to_c(network, tmp_path)
    network.parameters["dense1.w"][0, 0] = np.nan
    with pytest.raises(ValueError, match="dense1"):
        export.to_c(network, tmp_path)
    large = Network([Dense(2**12, 2**11), Dense(2**11, 10)], input_shape=(1, 64, 64))
    with pytest.raises(ValueError, match="at most 4194304 parameters"):
        export.to_c(large, tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_and_files(tmp_path: Path) -> None:
    network = small()
    for name in ("", "2x", "a-b", "a/b", "é", 3):
        with pytest.raises(ValueError, match="name: expected a letter and up to 63"):
            export.to_c(network, tmp_path, name=name)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    export.to_c(network, tmp_path / "new" / "folder")
    header = tmp_path / "new" / "folder" / "lenet.h"
    header.write_text("mine")
    with pytest.raises(FileExistsError, match=r"out: .*lenet\.c exists"):
        export.to_c(network, header.parent)
    (header.parent / "lenet.c").unlink()
    with pytest.raises(FileExistsError, match=r"out: .*lenet\.h exists"):
        export.to_c(network, header.parent)
    assert [path.name for path in header.parent.iterdir()] == ["lenet.h"]
    export.to_c(network, header.parent, overwrite=True)
    assert header.read_text() != "mine"
    with pytest.raises(ValueError, match=r"out: expected a folder, got the file .*lenet\.h"):
        export.to_c(network, header)
    with pytest.raises(ValueError, match=r"out: expected a name that ends in \.npz"):
        export.to_npz(network, tmp_path / "a", np.zeros((4, 4), np.uint8))


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    network = small()
    for image in (np.zeros((5, 4), np.uint8), np.zeros((2, 4, 4), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="image: expected bytes of at most 4 x 4 pixels"):
            export.to_headers(network, tmp_path, image)
        with pytest.raises(ValueError, match="images: expected bytes of at most 4 x 4 pixels"):
            export.quantise(network, image[np.newaxis])
    with pytest.raises(TypeError, match="image: expected an array of bytes, got ndarray of dtype"):
        export.to_mem(network, tmp_path, np.zeros((4, 4)))
    with pytest.raises(TypeError, match="images: expected an array of bytes, got list"):
        export.quantise(network, [1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="images: expected at least one, got none"):
        export.quantise(network, np.zeros((0, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"image: expected bytes from 0 .* got 0 to 1"):
        export.to_mem(network, tmp_path, np.ones((4, 4), np.uint8))
    with pytest.raises(ValueError, match="values: expected one of int8, int16, got 'int4'"):
        export.quantise(network, np.zeros((1, 4, 4), np.uint8), values="int4")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


# --- on the command line -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    files.save_model(path, models.lenet1())
    return path


def test_command(lenet_fast: Any, model: Path) -> None:
    result = lenet_fast("export", model, "--format", "c", "--name", "digits")
    assert result.status == 0, result.err
    lines = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert lines["flash"] == "10,345 bytes of weights and tables"
    assert lines["RAM"] == "12,352 bytes of buffers"
    assert Path("digits", "digits.h").exists()
    compile_ = lines["compile"].split()
    assert compile_[:2] == ["cc", "-std=c99"]
    compiler("gcc")
    subprocess.run(["gcc", *compile_[1:]], check=True)
    image = SAMPLE.test.images[0]
    classes, _ = outputs(Path("digits/digits").absolute(), image)
    assert classes.tolist() == [files.load_model(model).classify(image)]
    again = ("export", model, "--format", "c", "--name", "digits")
    assert_one_line(lenet_fast(*again), "OUT: digits/digits.c exists", "--overwrite", status=2)
    assert lenet_fast(*again, "--overwrite").status == 0


def test_command_does_not_replace_the_model_that_it_reads(lenet_fast: Any, model: Path) -> None:
    content = model.read_bytes()
    Path("mine.npz").write_bytes(content)
    result = lenet_fast("export", "mine.npz", "mine.npz", "--format", "npz", "--overwrite")
    assert_one_line(result, "OUT: expected another file than the model, got mine.npz", status=2)
    assert Path("mine.npz").read_bytes() == content


def test_command_in_integers(lenet_fast: Any, model: Path) -> None:
    import json

    options = ("--quantise", "int8", "--dataset", "sample")
    result = lenet_fast("export", model, "a", "--format", "c", *options, "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert report["images"] == 1000
    assert abs(report["errors_float"] - report["errors_integers"]) <= report["answered_otherwise"]
    assert report["files"] == ["a/lenet.c", "a/lenet.h"]
    result = lenet_fast("export", model, "b", "--format", "mem", *options, "--image", "7")
    assert result.status == 0, result.err
    assert "test image 7, labelled " in result.out
    assert "errors of 1,000 test images" in result.out
    assert Path("b", "OUTPUT_y.mem").exists()
    result = lenet_fast("export", model, "--format", "npz", "--dataset", "sample")
    assert result.status == 0, result.err
    assert Path("lenet.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.onnx", "--quantise", "int8"), "--quantise: expected with --format c, headers, mem"),
        (("a.onnx", "--name", "x"), "--name: expected with --format c, headers or mem, got"),
        (("--format", "npz", "--name", "x"), "--name: expected with --format c"),
        (("--format", "c", "--image", "3"), "--image: expected with --format headers, mem or npz"),
        (("--format", "c", "--dataset", "sample"), "--dataset: expected with --quantise"),
        (("--format", "c", "--name", "a b"), "--name: expected a letter and up to 63"),
        (
            ("--format", "mem", "--dataset", "sample", "--image", "1000"),
            "--image: expected 0 to 999",
        ),
        ((), "OUT: expected a name that ends in .onnx, got none"),
        (("a", "--format", "npz", "--dataset", "sample"), "OUT: expected a name that ends in .npz"),
    ],
)
def test_wrong_calls(lenet_fast: Any, model: Path, arguments: tuple[str, ...], words: str) -> None:
    assert_one_line(lenet_fast("export", model, *arguments), words, status=2)
    assert not list(Path().iterdir())


@pytest.mark.slow
def test_the_benchmark_prints_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import export as benchmark
    from lenet_fast.bench import machine

    monkeypatch.setattr(machine, "probe", lambda memory=False, isa=None: None)
    arguments = ["--network", "lenet1989", "--calls", "3", "--cc", compiler("gcc")]
    benchmark.main(arguments)
    head, _, _, ours, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("lenet1989, one digit, one thread")
    assert ours.endswith("| 1.0 |")
    kinds = [row.split(",")[1].strip() for row in rows]
    assert kinds == [*["float"] * 3, *["int8"] * 2, *["int16"] * 2]
    assert np.float64(5e-324) * 1.0 > 0, "denormals stay what they are in this thread"
