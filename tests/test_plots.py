"""Pictures: that they show the data that they were given, read back from what is drawn."""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import complains, new_rng, require
from PIL import Image

from lenet_fast import bitmaps, connections, data, models, plots
from lenet_fast.layers import RBF, Conv2D, Dense
from lenet_fast.network import Network
from lenet_fast.plots import style
from lenet_fast.training import History, Row

require("matplotlib")

SAMPLE = data.load("sample")


def history(train: list[int], test: list[int]) -> History:
    errors = enumerate(zip(train, test, strict=True), 1)
    return History([Row(i, 1.0, 1.0, 0.1, a, 0.1, b, 0.1) for i, (a, b) in errors], 200, 50)


def words(axes: object) -> list[str]:
    return [text.get_text() for text in axes.texts]


# --- the way to a file ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("b.c.pdf", b"%PDF")]
)
def test_save(tmp_path: Path, name: str, head: bytes) -> None:
    plots.save(style.figure(1), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(head)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_text_stays_text(tmp_path: Path) -> None:
    """Conferences refuse Type 3 fonts; outlines of letters can be neither searched nor edited."""
    plots.save(plots.connection_table(connections.LENET5_C3), tmp_path / "a.pdf")
    plots.save(plots.connection_table(connections.LENET5_C3), tmp_path / "a.svg")
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/CIDFontType2" in pdf
    assert ">60 of 96 links</text>" in (tmp_path / "a.svg").read_text()


def test_dpi(tmp_path: Path) -> None:
    plots.save(style.figure(1), tmp_path / "a.png", dpi=30)
    assert (tmp_path / "a.png").read_bytes()[16:24] == bytes([0, 0, 0, 240, 0, 0, 0, 30])
    for wrong, error in ((9, ValueError), (2401, ValueError), (30.0, TypeError)):
        with pytest.raises(error, match="dpi"):
            plots.save(style.figure(1), tmp_path / "b.png", dpi=wrong)
    assert not (tmp_path / "b.png").exists()


def test_save_keeps_the_old_file_when_drawing_fails(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    picture = style.figure(1)
    picture.savefig = None
    with pytest.raises(TypeError):
        plots.save(picture, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("a.jpg", ValueError, "out: expected .* .png, .svg, .pdf, got .*a.jpg"),
        ("png", ValueError, "out: expected .* .png, .svg, .pdf"),
        ("nowhere/a.png", FileNotFoundError, "out: expected a folder .* nowhere|nowhere"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, name: str, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        plots.save(style.figure(1), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_figure_and_no_path(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^picture: expected a matplotlib Figure, got str 'x'$"):
        plots.save("x", tmp_path / "a.png")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^path: expected a path, got int 3$"):
        plots.save(style.figure(1), 3)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


IMAGE = SAMPLE.test.images[0]


@pytest.mark.parametrize(
    ("draw", "images"),
    [
        (plots.saliency, [IMAGE]),
        (plots.occlusion, [IMAGE]),
        (plots.features, [IMAGE]),
        (plots.readings, [IMAGE[np.newaxis], ["a 4"]]),
        (plots.filters, []),
        (plots.architecture, []),
        (plots.bitmaps, []),
        (plots.weights, []),
        (plots.embedding, [IMAGE, [4]]),
    ],
)
def test_what_is_no_network(draw: Any, images: list) -> None:
    with pytest.raises(TypeError, match=r"^network: expected a Network, got str 'x'$"):
        draw("x", *images)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "lenet_fast.plots.figures", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'lenet_fast\[plot\]'"):
        plots.check_out("a.png")
    with pytest.raises(ImportError, match=r"pip install 'lenet_fast\[plot\]'"):
        plots.bitmaps()


def test_a_figure_shows_itself_in_notebooks_only() -> None:
    picture = plots.bitmaps()
    png, size = picture._repr_png_()
    assert Image.open(io.BytesIO(png)).size == (1200, 735)
    assert size == {"width": 800, "height": 490}
    with pytest.raises(RuntimeError, match=r"show: expected a notebook, got none; use savefig"):
        picture.show()


def test_figures_are_1200_pixels_wide_and_unknown_to_pyplot() -> None:
    pyplot = require("matplotlib.pyplot")
    before = pyplot.get_fignums()
    picture = plots.errors(history([1, 2], [3, 4]))
    assert picture.get_size_inches()[0] * picture.dpi == 1200
    assert pyplot.get_fignums() == before


def test_mosaic() -> None:
    tiles = np.arange(1, 13).reshape(3, 2, 2)
    n = np.nan
    expected = [
        *([1, 2, n, 5, 6], [3, 4, n, 7, 8], [n] * 5, [n] * 5),
        *([9, 10, n, n, n], [11, 12, n, n, n], [n] * 5),
    ]
    np.testing.assert_array_equal(style.mosaic(tiles, 2, 1, 1), expected)


# --- curves -----------------------------------------------------------------------------


def test_errors_of_one_run() -> None:
    [axes] = plots.errors(history([100, 40, 20], [20, 15, 10])).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"training", "test", "saved: epoch 3, 20.00 %"}
    np.testing.assert_allclose(lines["training"].get_ydata(), [50, 20, 10])
    np.testing.assert_allclose(lines["test"].get_ydata(), [40, 30, 20])
    np.testing.assert_array_equal(lines["test"].get_xdata(), [1, 2, 3])
    assert lines["training"].get_color() != lines["test"].get_color()
    assert words(axes) == ["20.00 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "error rate (%)")


def test_errors_of_seeds_and_runs() -> None:
    seeds = [history([40, 20], [20, 10]), history([60, 10], [10, 5])]
    [axes] = plots.errors([seeds, history([2, 1], [1, 1])], ["a", "b"], log=True).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    saved = "saved: epoch 1, 2.00 %"  # of b alone: a is a mean
    assert set(lines) == {"a, training", "a, test", "b, training", "b, test", saved}
    np.testing.assert_allclose(lines["a, training"], [25, 7.5])
    np.testing.assert_allclose(lines["a, test"], [30, 15])
    np.testing.assert_allclose(lines["b, test"], [2, 2])
    bands = [set(band.get_paths()[0].vertices[:, 1].round(9)) for band in axes.collections]
    assert bands == [{20, 30, 5, 10}, {10, 20, 40}]
    assert axes.get_yscale() == "log"


def test_losses_beside_those_of_a_paper() -> None:
    given = history([100, 40], [20, 15])
    [axes] = plots.losses(given, log=True, marks={"paper": 0.018}).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    expected = [row.train_loss for row in given.rows], [row.test_loss for row in given.rows]
    np.testing.assert_array_equal(lines["training"], expected[0])
    np.testing.assert_array_equal(lines["test"], expected[1])
    assert list(lines["paper: 0.018"]) == [0.018, 0.018]
    [axes] = plots.errors(given, marks={"paper": 5}).axes
    assert list(axes.lines[-1].get_ydata()) == [5, 5]
    assert axes.lines[-1].get_label() == "paper: 5.00 %"
    with complains("marks['paper']", TypeError, got="str"):
        plots.errors(given, marks={"paper": "5"})


@pytest.mark.parametrize("log", [False, True])
def test_last_errors_are_not_written_over_each_other(log: bool) -> None:
    runs = [history([20, 10], [5, last]) for last in (4, 4, 4, 20, 0)]
    picture = plots.errors(runs, list("abcde"), log=log, saved=False)
    [axes] = picture.axes
    picture.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert words(axes).count("8.00 %") == 3
    for lower, upper in itertools.pairwise(boxes):
        assert upper.y0 > lower.y1 - 3, "pixels"
    far = axes.texts[words(axes).index("40.00 %")]
    assert far.xyann == (6, 0), "moved without need"


def test_errors_mark_the_epoch_that_is_saved() -> None:
    [axes] = plots.errors(history([100, 40, 20], [20, 10, 15])).axes
    star = axes.lines[2]
    assert (star.get_label(), star.get_marker()) == ("saved: epoch 2, 20.00 %", "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (2, 20)


def test_errors_of_several_folders_have_their_names(tmp_path: Path) -> None:
    for name, errors in (("slow", [20, 15]), ("fast", [10, 5])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text(history([9, 9], errors).to_csv())
        images = "data.train.images = 400\ndata.test.images = 100\n"
        (tmp_path / name / "config.toml").write_text(images)
    [axes] = plots.errors([tmp_path / "slow", str(tmp_path / "fast")]).axes
    labels = [line.get_label() for line in axes.lines]
    assert labels[::3] == ["slow, training", "fast, training"]
    np.testing.assert_allclose(axes.lines[4].get_ydata(), [10, 5])


def test_errors_of_a_folder(tmp_path: Path) -> None:
    one = history([100, 40], [20, 15])
    (tmp_path / "history.csv").write_text(one.to_csv())
    (tmp_path / "config.toml").write_text("data.train.images = 400\ndata.test.images = 100\n")
    [axes] = plots.errors(tmp_path).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [25, 10])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [20, 15])


def test_runs_whose_best_epoch_is_not_saved() -> None:
    [axes] = plots.errors(history([20, 10], [5, 10]), saved=False).axes
    assert [line.get_label() for line in axes.lines] == ["training", "test"]


def test_the_names_of_many_runs_are_outside_the_curves() -> None:
    picture = plots.errors([history([20, 10], [5, 10])] * 3)
    assert picture.axes[0].get_legend() is None
    assert len(picture.legends[0].texts) == 9


@pytest.mark.parametrize(
    ("given", "labels", "error", "text"),
    [
        ([], None, ValueError, "histories: expected at least one run"),
        (
            [[]],
            None,
            ValueError,
            "histories: expected the same number of epochs for each seed, got no seed",
        ),
        (History(), None, ValueError, "histories: expected at least one epoch"),
        ([[history([1], [1]), history([1, 1], [1, 1])]], None, ValueError, "got 1, 2"),
        ([history([1], [1])], ["a", "b"], ValueError, "labels: expected 1, .* got 2"),
        ([[3]], None, TypeError, "histories: expected histories or folders, got int 3"),
    ],
)
def test_errors_of_nothing(given: object, labels: object, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        plots.errors(given, labels)


def test_rates() -> None:
    network = models.lenet5()
    factors = {name: np.full(network.parameters[name].shape, 2.0) for name in ("C3.w", "C3.b")}
    factors["C3.w"][~connections.LENET5_C3] = 50
    factors["F6.b"] = np.array([0.2, 0.2, 0.2, 8.0])
    [axes] = plots.rates(factors, 0.001, network=network).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["C3\n1,516", "F6\n4"]
    steps = [patch.get_data() for patch in axes.patches if hasattr(patch, "get_data")]
    for (values, edges, base), expected in zip(
        steps, ({0.002: 1.0}, {0.0002: 1.0, 0.008: 1 / 3}), strict=True
    ):
        heights = (values - base) / 0.8
        for rate, height in expected.items():
            assert heights[np.searchsorted(edges, rate) - 1] == pytest.approx(height)
        assert np.count_nonzero(heights) == len(expected)
    medians = [line.get_xdata()[0] for line in axes.lines]
    np.testing.assert_allclose(medians, [0.002, 0.0002])
    [span] = [patch for patch in axes.patches if "paper" in (patch.get_label() or "")]
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((7e-5, 0.016))
    assert axes.get_xscale() == "log"


def test_weights() -> None:
    """Trained weights by layer, without those of absent links, which here are far away."""
    network = models.lenet5()
    network.parameters["C3.w"][~connections.LENET5_C3] = 50
    network.parameters["S2.w"][:] = 2
    network.parameters["S2.b"][:] = -1, -1, -1, 2, 2, 2
    [axes] = plots.weights(network).axes
    names = ["C1\n156", "S2\n12", "C3\n1,516", "S4\n32", "C5\n48,120", "F6\n10,164"]
    assert [t.get_text() for t in axes.get_yticklabels()] == names
    values, edges, base = axes.patches[1].get_data()
    heights = (values - base) / 0.8
    assert np.count_nonzero(heights) == 2
    assert heights[np.searchsorted(edges, -1) - 1] == pytest.approx(1 / 3)
    assert heights[np.searchsorted(edges, 2) - 1] == 1
    assert edges[-1] < 3
    medians = [line.get_xdata()[0] for line in axes.lines[1:]]
    assert medians[1] == 2
    assert medians[0] == np.median(np.append(*(network.parameters[f"C1.{p}"] for p in "wb")))
    network.parameters["C1.b"][0] = np.nan
    with pytest.raises(ValueError, match=r"^network: expected finite weights$"):
        plots.weights(network)


@pytest.mark.parametrize(
    ("factors", "error", "text"),
    [
        ({}, ValueError, "factors: expected those of at least one parameter"),
        ({"C1.w": np.array([1.0, 0.0])}, ValueError, r"factors\['C1.w'\]: expected finite rates"),
        ({"C1.w": np.array([np.nan])}, ValueError, r"factors\['C1.w'\]: expected finite rates"),
        ({"C1.w": np.array([1])}, TypeError, r"factors\['C1.w'\]: expected floats"),
    ],
)
def test_rates_that_are_none(factors: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        plots.rates(factors)


def test_sweep() -> None:
    picture = plots.sweep([10, 0.1, 1], [3, 2, 1], [0.3, 0.2, 0.1], "j (penalty)")
    [axes] = picture.axes
    [bars] = axes.containers
    np.testing.assert_array_equal(bars[0].get_xdata(), [0.1, 1, 10])
    np.testing.assert_array_equal(bars[0].get_ydata(), [2, 1, 3])
    ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[1.8, 2.2], [0.9, 1.1], [2.7, 3.3]])
    assert words(axes) == ["1.00 at 1"]
    assert (axes.get_xlabel(), axes.get_xscale()) == ("j (penalty)", "log")


@pytest.mark.parametrize(
    ("x", "means", "spreads", "text"),
    [
        ([1, 2], [1], None, "means: expected as many"),
        ([], [], None, "means: expected as many numbers as x, at least one"),
        ([1, 2], [1, 2], [1], "spreads: expected shape"),
        ([1, 2], [1, 2], [1, -1], "spreads: expected"),
        ([1, 2], [1, np.nan], None, "means: expected finite"),
        ([0, 2], [1, 1], None, "x: expected numbers above 0"),
    ],
)
def test_sweeps_that_are_none(x: list, means: list, spreads: list | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plots.sweep(x, means, spreads)


def test_sweeps_of_several_curves() -> None:
    means = {"plain": [1.7, 1.2, 0.9], "distorted": [1.2, 0.9, 0.6]}
    spreads = {"plain": [[0.1, 0, 0], [0.2, 0, 0]], "distorted": None}
    picture = plots.sweep([15, 30, 60], means, spreads, "images", log=False, marks={"paper": 0.95})
    [axes] = picture.axes
    for curve, expected in zip(axes.containers, means.values(), strict=True):
        np.testing.assert_array_equal(curve[0].get_ydata(), expected)
    ends = axes.containers[0][2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose(ends, [1.6, 1.9])
    assert words(axes) == ["1.70", "1.20", "0.90", "1.20", "0.90", "0.60"]
    [legend] = picture.legends
    assert {text.get_text() for text in legend.texts} == {*means, "paper: 0.95"}
    with pytest.raises(ValueError, match=r"spreads: expected the names of the means.*\['plain'\]"):
        plots.sweep([1], {"plain": [1]}, {"other": [0.1]})
    with pytest.raises(ValueError, match="spreads: expected the names of the means, at least one"):
        plots.sweep([1], {})


def test_bars() -> None:
    values = {"ours": [2578, 50673.4, 0], "paper": [2600, None, 5]}
    picture = plots.bars(["LeNet-1", "LeNet-4", "none"], values, "parameters")
    [axes] = picture.axes
    lengths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert lengths == [[2578, 50673.4, 0], [2600, 0, 5]]
    assert words(axes) == [" 2,578", " 50,673", " 0", " 2,600", " paper: no value", " 5"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["LeNet-1", "LeNet-4", "none"]
    top, bottom = axes.containers[0][0], axes.containers[0][2]
    assert axes.yaxis_inverted()
    assert top.get_y() < bottom.get_y()
    assert top.get_y() < axes.containers[1][0].get_y()  # ours above the paper's


def test_bars_with_ranges() -> None:
    spreads = {"ours": [[1, 2], [3, 4]]}
    picture = plots.bars(["a", "b"], {"ours": [10, 20], "paper": [5, 6]}, "x", spreads=spreads)
    [axes] = picture.axes
    lines = axes.containers[1][2][0].get_segments()
    np.testing.assert_allclose([line[:, 0] for line in lines], [[9, 13], [18, 24]])
    assert [text.get_position()[0] for text in axes.texts] == [13, 24, 5, 6]  # behind the bars
    for bad, words_of in (
        ({"other": [1, 1]}, r"spreads: expected sources of values, \['ours'\], got \['other'\]"),
        ({"ours": [1]}, r"spreads\['ours'\]: expected shape \(2,\) or \(2, 2\), got \(1,\)"),
        ({"ours": [1, -1]}, r"spreads\['ours'\]: expected finite numbers of at least 0"),
    ):
        with pytest.raises(ValueError, match=words_of):
            plots.bars(["a", "b"], {"ours": [10, 20]}, "x", spreads=bad)


@pytest.mark.parametrize(
    ("names", "values", "text"),
    [
        ([], {"ours": []}, "values: expected at least one source"),
        (["a"], {}, "values: expected at least one source"),
        (["a"], {"ours": [1], "paper": [1, 2]}, "got {'ours': 1, 'paper': 2}"),
        (["a"], {"ours": [-1]}, r"values\['ours'\]: expected at least 0, got -1"),
        (["a"], {"ours": [np.inf]}, r"values\['ours'\]: expected"),
    ],
)
def test_bars_that_are_none(names: list, values: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plots.bars(names, values, "parameters")


# --- digits -----------------------------------------------------------------------------


def test_mistakes() -> None:
    images, labels = SAMPLE.test.images[:20], SAMPLE.test.labels[:20].astype(int)
    predicted = labels.copy()
    predicted[[3, 7, 19]] = (labels[[3, 7, 19]] + 1) % 10
    [axes] = plots.mistakes(images, labels, predicted, columns=2).axes
    assert words(axes) == [f"{labels[i]}→{(labels[i] + 1) % 10}" for i in (3, 7, 19)]
    first = f"{labels[3]}→{predicted[3]}: a {labels[3]}, read as a {predicted[3]}"
    assert axes.get_title() == f"3 of 20 digits misclassified ({first})"
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown[:28, :28], images[3])
    np.testing.assert_array_equal(shown[:28, -28:], images[7])
    np.testing.assert_array_equal(np.nansum(shown), images[[3, 7, 19]].sum(dtype=float))
    x, y = axes.texts[2].get_position()  # below the digit of the second row
    assert 0 < x < 28
    assert y > 28 * 2
    [axes] = plots.mistakes(images, labels, predicted, limit=2).axes
    assert len(words(axes)) == 2
    assert axes.get_title() == f"3 of 20 digits misclassified, the first 2 ({first})"
    [axes] = plots.mistakes(images, labels, labels).axes
    assert axes.get_title() == "0 of 20 digits misclassified"


@pytest.mark.parametrize("sign", [1, -1])
def test_the_worst_mistakes_come_first(sign: int) -> None:
    """By how much the wrong output is better: larger, or for penalties smaller."""
    images, labels = SAMPLE.test.images[:4], np.array([8, 1, 2, 3])
    predicted = np.array([3, 1, 8, 1])
    outputs = np.zeros((4, 10))
    outputs[0, [8, 3]] = 1, 2  # by 1
    outputs[2, [2, 8]] = -1, 4  # by 5
    outputs[3, [3, 1]] = 0, 2  # by 2
    [axes] = plots.mistakes(images, labels, predicted, outputs=sign * outputs).axes
    assert words(axes) == ["2→8", "3→1", "8→3"]
    title = "3 of 4 digits misclassified, worst first (2→8: a 2, read as an 8)"
    assert axes.get_title() == title
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown[:28, :28], images[2])
    [axes] = plots.mistakes(images, labels, predicted, outputs=outputs, limit=2).axes
    assert axes.get_title().startswith("3 of 4 digits misclassified, the worst 2 (2→8")
    with pytest.raises(ValueError, match=r"outputs: expected \(4, 10\), got \(4, 9\)"):
        plots.mistakes(images, labels, predicted, outputs=outputs[:, :9])


def test_a_grid_fills_its_figure(tmp_path: Path) -> None:
    """No blank strip below the last labels, no letters at the upper edge."""
    from PIL import Image

    images = SAMPLE.test.images[:3]
    pictures = {
        "samples": plots.samples(SAMPLE.train),
        "distorted": plots.distorted(images, np.stack([images] * 8, axis=1)),
    }
    for name, picture in pictures.items():
        plots.save(picture, tmp_path / f"{name}.png")
        grey = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        inked = np.flatnonzero((grey < 128).any(axis=1))
        assert inked[0] >= 6, name
        # Distorted digits have the margin of an image below them, samples have labels.
        assert len(grey) - inked[-1] < {"samples": 40, "distorted": 60}[name], name


def test_samples() -> None:
    [axes] = plots.samples(SAMPLE.train, 6, columns=3).axes
    assert words(axes) == [str(label) for label in SAMPLE.train.labels[:6]]
    np.testing.assert_array_equal(axes.images[0].get_array()[:28, :28], SAMPLE.train.images[0])


def test_distorted() -> None:
    images = SAMPLE.test.images[:3]
    versions = np.stack([images, images[:, ::-1]], axis=1)
    first, rest = plots.distorted(images, versions).axes
    np.testing.assert_array_equal(first.images[0].get_array()[-28:], images[2])
    np.testing.assert_array_equal(rest.images[0].get_array()[-28:, :28], images[2])
    np.testing.assert_array_equal(rest.images[0].get_array()[:28, -28:], images[0, ::-1])
    with pytest.raises(ValueError, match=r"versions: expected .* got \(2, 2, 28, 28\)"):
        plots.distorted(images, versions[:2])
    with pytest.raises(ValueError, match=r"versions: expected \(n, k, rows, columns\)"):
        plots.distorted(images, images)
    with pytest.raises(TypeError, match="images: expected real numbers"):
        plots.distorted(np.array([["a"]]), versions)


def test_bitmaps() -> None:
    centres = new_rng().normal(size=(10, 84))
    own = Network([RBF(84, 10, centres=centres)], input_shape=(1, 12, 7), output="rbf")
    for network, expected in ((None, bitmaps.centres()), (own, centres.astype(np.float32))):
        axes = plots.bitmaps(network).axes
        assert [each.get_title() for each in axes] == list("0123456789")
        for each, centre in zip(axes, expected, strict=True):
            np.testing.assert_array_equal(each.collections[0].get_array().ravel(), centre)
            assert each.yaxis_inverted()
    with pytest.raises(ValueError, match="network: expected one with RBF outputs, got 'softmax'"):
        plots.bitmaps(models.lenet5(output="softmax"))
    small = Network([RBF(4, 3, centres=np.eye(3, 4))], input_shape=(1, 2, 2), output="rbf")
    with pytest.raises(ValueError, match=r"network: expected ten RBF outputs .* got \(3, 4\)"):
        plots.bitmaps(small)


# --- counts -----------------------------------------------------------------------------


def test_class_distribution() -> None:
    for axes, part in zip(
        plots.class_distribution(SAMPLE).axes, (SAMPLE.train, SAMPLE.test), strict=True
    ):
        counts = [int((part.labels == digit).sum()) for digit in range(10)]
        assert [bar.get_height() for bar in axes.patches] == counts
        assert words(axes) == [f"{count:,}" for count in counts]
        assert axes.get_title().startswith(f"{len(part):,} t")


def test_confusion() -> None:
    rng = new_rng()
    labels, predicted = rng.integers(0, 10, (2, 300))
    predicted[:200] = labels[:200]
    counts = np.zeros((10, 10), int)
    for label, found in zip(labels, predicted, strict=True):
        counts[label, found] += 1
    [axes] = plots.confusion(labels, predicted).axes
    drawn = np.zeros((10, 10), int)
    for text in axes.texts:
        column, row = text.get_position()
        drawn[row, column] = int(text.get_text())
    np.testing.assert_array_equal(drawn, counts)
    off = ~np.eye(10, dtype=bool)
    np.testing.assert_array_equal(axes.images[0].get_array()[off], counts[off])
    assert axes.get_title().startswith(f"{counts[off].sum()} of 300 digits")
    with pytest.raises(ValueError, match=r"predicted: expected shape \(300,\)"):
        plots.confusion(labels, predicted[:5])
    with pytest.raises(ValueError, match="labels: expected labels from 0 to 9, got 10"):
        plots.confusion(labels + 1, predicted)
    plots.confusion(labels[:0], labels[:0])


# --- networks ---------------------------------------------------------------------------


def test_connection_table() -> None:
    for given, seen in ((connections.LENET5_C3, "input map"), (models.lenet5(), "map of S2")):
        [axes] = plots.connection_table(given).axes
        marks = {tuple(map(int, mark)) for mark in axes.lines[0].get_xydata()}
        assert len(marks) == 60
        for o in range(16):
            for c in range(6):
                assert ((o, c) in marks) == connections.LENET5_C3[o, c]
        assert words(axes) == ["10"] * 6 + ["3"] * 6 + ["4"] * 9 + ["6"]
        assert axes.get_title() == "60 of 96 links"
        assert axes.get_ylabel() == seen
    with pytest.raises(ValueError, match="network: expected a layer with a connection table"):
        plots.connection_table(models.lenet5(connections="full"))
    with pytest.raises(TypeError, match="table: expected a bool array or a network"):
        plots.connection_table(np.ones((2, 2)))


def test_filters() -> None:
    network = models.lenet5()
    first, second = plots.filters(network).axes[:2]
    w = network.parameters["C1.w"]
    shown = first.images[0].get_array()
    for o in range(6):
        np.testing.assert_array_equal(shown[:, 6 * o : 6 * o + 5], w[o, 0])
    w, shown = network.parameters["C3.w"], second.images[0].get_array()
    for o in range(16):
        for c in range(6):
            tile = shown[6 * c : 6 * c + 5, 6 * o : 6 * o + 5]
            if connections.LENET5_C3[o, c]:
                np.testing.assert_array_equal(tile, w[o, c])
            else:
                assert np.ma.getmaskarray(tile).all()
    low, high = second.images[0].get_clim()
    assert -low == high == pytest.approx(np.abs(w).max())
    assert second.get_title() == "C3: 60 kernels of 5 x 5"
    assert (second.get_xlabel(), second.get_ylabel()) == ("map of C3", "map of S2")
    for layer in ("F6", "C9"):
        with pytest.raises(ValueError, match=rf"layer: .* \(C1, C3, C5\), got '{layer}'"):
            plots.filters(network, layer)


@pytest.mark.parametrize("factor", [1, 5, 30])
def test_no_letter_of_filters_is_cut_off(tmp_path: Path, factor: float) -> None:
    from PIL import Image

    network = models.lenet1989()
    for name in ("H1.w", "H2.w"):
        network.parameters[name] *= factor  # makes the numbers of the scale narrower or wider
    plots.save(plots.filters(network), tmp_path / "a.png")
    grey = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    inked = np.flatnonzero((grey < 200).any(axis=0))
    assert inked[0] >= 3
    assert inked[-1] <= 1196


def test_filters_of_groups() -> None:
    layers = [Conv2D(4, 2, 3, groups=2, name="G"), Dense(2, 3)]
    network = Network(layers, input_shape=(4, 3, 3))
    [axes, _] = plots.filters(network, "G").axes
    shown, w = axes.images[0].get_array(), network.parameters["G.w"]
    for o in range(2):
        for c in range(4):
            tile = shown[4 * c : 4 * c + 3, 4 * o : 4 * o + 3]
            if c // 2 == o:
                np.testing.assert_array_equal(tile, w[o, c % 2])
            else:
                assert np.ma.getmaskarray(tile).all()


def test_features_of_rbf_outputs() -> None:
    network, image = models.lenet5(), SAMPLE.test.images[0]
    found = network.activations(image)
    axes = {each.get_title(): each for each in plots.features(network, image).axes}
    shown = {
        name.split(":")[0]: each.images[0].get_array() for name, each in axes.items() if each.images
    }
    np.testing.assert_array_equal(shown["input"], image)
    np.testing.assert_array_equal(shown["C1"][:28, :28], found["C1.activation"][0])
    np.testing.assert_array_equal(shown["C1"][-28:, -28:], found["C1.activation"][5])
    np.testing.assert_array_equal(shown["S2"][:14, -14:], found["S2.activation"][1])
    np.testing.assert_array_equal(shown["C3"][-10:, :10], found["C3.activation"][12])
    np.testing.assert_array_equal(shown["S4"][:5, -5:], found["S4.activation"][3])
    np.testing.assert_array_equal(shown["C5"][0], found["C5.activation"].ravel())
    np.testing.assert_array_equal(shown["F6"][0], found["F6.activation"])
    np.testing.assert_array_equal(shown["F6 as 7 x 12"].ravel(), found["F6.activation"])
    winner = int(found["OUTPUT"].argmin())
    np.testing.assert_array_equal(
        shown[f"bitmap of {winner}"].ravel(), bitmaps.centres()[winner].astype(np.float32)
    )
    drawn = axes[f"read as {winner}"]
    bars = drawn.patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], found["OUTPUT"])
    assert len({bar.get_facecolor() for bar in bars}) == 2
    assert bars[winner].get_facecolor() != bars[winner - 1].get_facecolor()
    assert drawn.get_ylabel() == "penalty (the smallest wins)"


def test_features_say_scale_label_and_answer() -> None:
    network, image = models.lenet5(), SAMPLE.test.images[0]
    titles = [axes.get_title() for axes in plots.features(network, image, 8).axes]
    largest = np.abs(network.activations(image)["C1.activation"]).max()
    assert titles[0] == "input: an 8"
    assert titles[1] == f"C1: 6 of 28 x 28\n±{largest:.3g}"
    assert titles[-1] == f"read as {network.classify(image)}"
    with pytest.raises(ValueError, match=r"label: expected .* 9, got 10"):
        plots.features(network, image, 10)


def test_features_of_other_networks() -> None:
    softmax = models.lenet5(output="softmax", pooling=None)
    picture = plots.features(softmax, SAMPLE.test.images[0])
    heights = [bar.get_height() for bar in picture.axes[-1].patches]
    assert sum(heights) == pytest.approx(1)
    assert picture.axes[-1].get_ylabel() == "probability"
    dense = Network([Dense(8, 3, name="D")], input_shape=(2, 2, 2))
    x = new_rng().normal(size=(2, 2, 2)).astype(np.float32)
    picture = plots.features(dense, x)
    winner = int(np.argmax(dense.predict(x)))
    assert [axes.get_title() for axes in picture.axes] == ["input", f"read as {winner}"]
    heights = [bar.get_height() for bar in picture.axes[-1].patches]
    np.testing.assert_allclose(heights, dense.predict(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="image: expected one, got 2"):
        plots.features(softmax, SAMPLE.test.images[:2])


def test_embedding_keeps_the_distances_of_a_plane() -> None:
    """Three units whose values lie in a plane of slope 45: nothing is lost but the rotation."""
    network = Network([Dense(2, 3, name="D"), Dense(3, 2, name="E")], input_shape=(2, 1, 1))
    network.parameters["D.w"][:] = [[1, 0], [0, 0.5**0.5], [0, 0.5**0.5]]
    network.parameters["E.w"][:] = [[1, 0, 0], [-1, 0, 0]]
    network.parameters["D.b"][:] = network.parameters["E.b"][:] = 0
    network.classes = ("a", "3")
    x = new_rng().normal(size=(300, 2, 1, 1)).astype(np.float32)
    x *= np.reshape(np.float32([0.4, 0.1]), (2, 1, 1))
    labels = (x[:, 0, 0, 0] < 0).astype(int)
    labels[:7] = 1 - labels[:7]
    [axes] = plots.embedding(network, x, labels).axes
    assert axes.get_title() == "300 images, 100 % of the variance; circles: 7 misclassified"
    assert axes.get_xlabel() == "first principal component of the 3 outputs of D"
    *classes, wrong = (np.asarray(each.get_offsets()) for each in axes.collections)
    true = x[:, :, 0, 0]
    parts = true[labels == 0], true[labels == 1], true[:7]
    for drawn, expected in zip((*classes, wrong), parts, strict=True):
        assert drawn.shape == expected.shape
        # Distances from the first point: they do not change when a plane is turned or mirrored.
        drawn, expected = (np.hypot(*(each - each[0]).T) for each in (drawn, expected))
        np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(np.concatenate(classes)[:, 0]) > 2 * np.ptp(np.concatenate(classes)[:, 1])
    assert words(axes) == ["a", "3"]
    for text, own in zip(axes.texts, classes, strict=True):
        assert text.get_position() == tuple(np.median(own, axis=0))


def test_embedding_of_classes_with_names() -> None:
    """No two classes have colour and sign in common, and no name is written over another."""
    network, digits = models.lenet5(), SAMPLE.test.subset(40)
    network.classes = tuple(f"class {label}" for label in range(10))
    picture = plots.embedding(network, digits.images, digits.labels)
    [axes] = picture.axes
    signs = [
        (tuple(each.get_facecolor()[0]), each.get_paths()[0].vertices.tobytes())
        for each in axes.collections[:-1]
    ]
    assert len(set(signs)) == 10
    assert words(axes) == []
    assert [text.get_text() for text in picture.legends[0].get_texts()] == [*network.classes]


@pytest.mark.slow
def test_embedding_of_layers_and_of_what_cannot_be() -> None:
    network, digits = models.lenet5(), SAMPLE.test.subset(300)  # more than a block
    [axes] = plots.embedding(network, digits.images, digits.labels, "C1").axes
    assert axes.get_xlabel().endswith("4,704 outputs of C1")
    assert sum(len(each.get_offsets()) for each in axes.collections[:-1]) == 300
    again = plots.embedding(network, digits.images[:290], digits.labels[:290], "F6").axes[0]
    assert again.get_xlabel().endswith("84 outputs of F6")
    same = np.zeros((2, 28, 28), np.uint8)
    same[:, 9:20, 14] = 255
    [axes] = plots.embedding(network, same, np.array([1, 1])).axes
    np.testing.assert_array_equal(axes.collections[1].get_offsets(), 0)
    for images, labels, layer, said in (
        (digits.images[0], digits.labels[:1], None, r"images: expected at least two, got .*28, 28"),
        (digits.images[:1], digits.labels[:1], None, "images: expected at least two"),
        (digits.images[:3], digits.labels[:2], None, "labels: "),
        (digits.images[:2], digits.labels[:2], "C9", "layer: expected one of C1, .*, got 'C9'"),
    ):
        with pytest.raises(ValueError, match=said):
            plots.embedding(network, images, labels, layer)
    network.parameters["C1.b"][0] = np.nan
    with pytest.raises(ValueError, match="network: expected finite outputs of F6"):
        plots.embedding(network, digits.images[:2], digits.labels[:2])


# --- evidence ---------------------------------------------------------------------------


def lead(network: Network, x: np.ndarray, winner: int) -> float:
    """By how much the winner's output is better than the best of the others, by hand."""
    scores = network.predict(x) * (-1 if network.output == "rbf" else 1)
    return float(scores[winner] - max(np.delete(scores, winner)))


@pytest.mark.parametrize("output", ["rbf", "softmax"])
def test_saliency_is_the_slope_of_the_lead(output: str) -> None:
    network = models.lenet5(output=output, dtype="float64", initialiser="lecun_sqrt")
    images, labels = SAMPLE.test.images[:2], SAMPLE.test.labels[:2]
    axes = plots.saliency(network, images, labels).axes
    winner = int(network.classify(images[1]))
    answer = f"read as {winner}"
    expected = answer if winner == labels[1] else f"{style.article(str(labels[1]))}, {answer}"
    assert axes[1].get_title() == expected
    np.testing.assert_array_equal(axes[1].images[0].get_array(), images[1])
    drawn = axes[3].images[0].get_array()
    assert drawn.shape == (28, 28)
    for row, column in ((14, 14), (3, 20)):
        x = data.prepare(images[1:], dtype="float64")
        x[0, 0, row + 2, column + 2] += 1e-5
        above = lead(network, x[0], winner)
        x[0, 0, row + 2, column + 2] -= 2e-5
        slope = (above - lead(network, x[0], winner)) / 2e-5
        assert drawn[row, column] == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_occlusion_is_the_lead_that_is_lost() -> None:
    network, image = models.lenet5(output="softmax"), SAMPLE.test.images[0]
    axes = plots.occlusion(network, image, size=5).axes
    winner = int(network.classify(image))
    changed = set()
    whole = lead(network, image, winner)
    for row, column in ((0, 0), (14, 16), (27, 3), (9, 20)):
        covered = image.copy()
        covered[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = 0
        lost = whole - lead(network, covered, winner)
        drawn = axes[1].images[0].get_array()[row, column]
        assert drawn == pytest.approx(lost, rel=1e-3, abs=1e-4)
        if network.classify(covered) != winner:
            changed.add((column, row))
    dots = set(zip(*axes[1].lines[0].get_data(), strict=True))
    assert {(16, 14), (20, 9), (0, 0), (3, 27)} & dots == changed


def test_evidence_of_the_network_of_1989() -> None:
    images = data.as_1989(SAMPLE.test).images[:2]
    network = models.lenet1989()
    for draw in (plots.saliency, plots.occlusion):
        assert draw(network, images).axes[2].images[0].get_array().shape == (16, 16)


@pytest.mark.parametrize("draw", [plots.saliency, plots.occlusion])
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            SAMPLE.test.images[:11],
            ValueError,
            r"images: expected .* of 1 to 10, got \(11, 28, 28\)",
        ),
        (SAMPLE.test.images[:0], ValueError, r"images: expected .* got \(0, 28, 28\)"),
        (np.zeros((28, 28)), TypeError, "images: expected bytes"),
    ],
)
def test_evidence_of_no_image(draw: object, images: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        draw(models.lenet5(), images)


def test_evidence_is_checked() -> None:
    network, image = models.lenet5(), SAMPLE.test.images[0]
    with pytest.raises(ValueError, match="size: expected an odd number, got 4"):
        plots.occlusion(network, image, size=4)
    with pytest.raises(ValueError, match="labels"):
        plots.saliency(network, image, 10)
    with pytest.raises(ValueError, match="network: expected one with one square input map"):
        plots.saliency(Network([Dense(8, 3)], input_shape=(2, 2, 2)), image)


# --- architecture -----------------------------------------------------------------------


def test_architecture() -> None:
    [axes] = plots.architecture(models.lenet5()).axes
    found = words(axes)
    assert axes.get_title() == "60,000 free parameters, 340,908 connections"
    for expected in (
        "input\n1 map\n32 x 32",
        "C1\n6 maps\n28 x 28",
        "convolution\n5 x 5, table",
        "sub-sampling\n2 x 2",
        "C5\n120 units",
        "distances to\ncentres",
        "1,516 parameters\n151,600 connections",
        "\n840 connections",
    ):
        assert expected in found
    widths = [patch.get_width() for patch in axes.patches]
    assert len(widths) == 1 + 4 * 6 + 3  # sheets, at most six, and bars
    assert widths[1] > widths[7] > widths[13]


def test_architecture_of_any_network() -> None:
    network = Network(
        [Dense(12, 3, name=f"D{i}") if not i else Dense(3, 3, name=f"D{i}") for i in range(12)],
        input_shape=(3, 1, 4),
    )
    picture = plots.architecture(network)
    assert words(picture.axes[0])[0] == "input\n3 maps\n1 x 4"
    assert {f"D{i}\n3 units" for i in range(12)} <= set(words(picture.axes[0]))
    [axes] = plots.architecture(models.lenet1989()).axes
    assert "convolution\n5 x 5, stride 2" in words(axes)


def test_readings() -> None:
    """A row per image: what is drawn is the image, the network's activations, and its answer."""
    network, images = models.lenet5(), SAMPLE.test.images[:2]
    picture = plots.readings(network, images, ["first", "second"])
    rows = np.reshape(picture.axes, (2, 8))
    titles = [axes.get_title() for axes in rows[0]]
    assert titles == ["input", "C1", "S2", "C3", "S4", "C5", "F6", "answer"]
    answers = network.classify(images)
    for axes, image, word, answer in zip(rows, images, ["first", "second"], answers, strict=True):
        np.testing.assert_array_equal(axes[0].images[0].get_array(), image)
        assert axes[0].get_ylabel() == word
        found = network.activations(image)
        f6 = axes[6].images[0].get_array()
        np.testing.assert_array_equal(f6.ravel(), found[network.stages["F6"]].ravel())
        c1 = np.asarray(axes[1].images[0].get_array())[:28, :28]
        np.testing.assert_array_equal(c1, found[network.stages["C1"]][0])
        assert words(axes[-1]) == [f"{answer}"]
    labels = (answers + np.arange(2)) % 10
    marked = plots.readings(network, images, ["first", "second"], labels)
    colours = [axes.texts[0].get_color() for axes in np.reshape(marked.axes, (2, 8))[:, -1]]
    assert colours == ["black", style.ORANGE]
    with pytest.raises(ValueError, match=r"^labels: "):
        plots.readings(network, images, ["first", "second"], labels[:1])
    for count in (0, 1, 3):
        with pytest.raises(ValueError, match=rf"words: expected one per image.*got {count} for"):
            plots.readings(network, images, ["a"] * count)
    with pytest.raises(ValueError, match="words: expected one per image"):
        plots.readings(network, images[0], ["a"])


# --- many trainings  ---


def test_parallel_coordinates_are_where_the_values_are() -> None:
    points = [
        {"rate": 0.01, "pooling": "max", "size": 16},
        {"rate": 0.1, "pooling": "average", "size": 24},
        {"rate": 1.0, "pooling": None},
    ]
    axes, _ = plots.parallel_coordinates(points, [3.0, 1.0, 2.0]).axes
    lines = [line.get_ydata().tolist() for line in axes.lines if len(line.get_ydata()) == 4]
    # The worst first, the best on top; the rates are on a logarithmic axis.
    np.testing.assert_allclose(lines, [[0, 0, 0, 1], [1, 1, 1, 0.5], [0.5, 0.5, 0.5, 0]])
    assert axes.lines[-1].get_color() == style.ORANGE
    assert {"0.01", "0.1", "1", "max", "average", "-", "16", "24"} <= set(words(axes))


def test_parallel_coordinates_of_one_point_and_of_none() -> None:
    axes, _ = plots.parallel_coordinates([{"rate": 0.1}], [2.0]).axes
    assert axes.lines[-1].get_ydata().tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="values: expected one per point, of which there is at"):
        plots.parallel_coordinates([], [])
    with pytest.raises(ValueError, match=r"values\[0\]: expected"):
        plots.parallel_coordinates([{}], [float("nan")])


def test_spread_is_the_mean_and_the_range() -> None:
    picture = plots.spread({"a": [[4, 2], [6, 3]], "b": [[1, 1, 1]]}, ylabel="error")
    (axes,) = picture.axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[5, 2.5], [1, 1, 1]]
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().bounds == (1, 2, 1, 4)
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["a: 2.5", "b: 1"]
    for wrong, said in (
        ({}, "curves: expected at least one, got none"),
        ({"a": [[1], [1, 2]]}, r"curves\['a'\]: expected seeds with equally many values.*got 1, 2"),
        ({"a": []}, "got none"),
        ({"a": [[float("inf")]]}, "expected finite numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            plots.spread(wrong)
