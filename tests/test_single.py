"""The online engine's programs: where each number of the parameters lies, and what is in memory."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from test_tile import IN_PLACE, NETWORKS

from lenet_fast import models
from lenet_fast.engines import single
from lenet_fast.engines.compile import Program, Unsupported
from lenet_fast.engines.program import Kind, Step
from lenet_fast.engines.single import ALIGNED
from lenet_fast.layers import Conv2D, Dense, MaxPool2D, ScaledTanh, Tanh
from lenet_fast.network import Network

LANES = pytest.mark.parametrize("lanes", [2, 16])


def steps_of(made: Program) -> list[Step]:
    return [Step(*row) for row in made.steps.tolist()]


def linked(layer: object, name: str, array: np.ndarray) -> np.ndarray:
    """Return which numbers of a parameter count."""
    table = getattr(layer, "table", None)
    if name != "w" or table is None:
        return np.ones(array.shape, bool)
    return np.broadcast_to(np.asarray(table, bool)[:, :, None, None], array.shape)


# --- parameters ---------------------------------------------------------------------------------


def judge_parameters(net: Network, made: Program) -> None:
    """Fail unless each number that counts has one place, and those that learn come first."""
    layers = {layer.name: layer for layer in net.layers}
    assert sorted(place.name for place in made.parameters) == sorted(net.parameters)
    end = 0
    for place in made.parameters:
        layer, _, name = place.name.rpartition(".")
        array = net.parameters[place.name]
        there = place.index[place.index >= 0]
        expected = np.flatnonzero(linked(layers[layer], name, array))
        np.testing.assert_array_equal(np.sort(there), expected, place.name)
        assert place.first % ALIGNED == 0
        assert place.first >= end, "it begins before the one in front of it ends"
        end = place.first + place.index.size
        assert end <= (made.trained if layers[layer].trainable else made.values)
        assert layers[layer].trainable == (place.first < made.trained)
    assert made.values >= end + (ALIGNED if made.parameters else 0)


@LANES
@pytest.mark.parametrize("name", NETWORKS)
def test_each_weight_has_one_place(name, lanes):
    net = NETWORKS[name](np.float32)
    judge_parameters(net, single.lay_out(net, lanes))


@pytest.mark.parametrize(
    "change",
    [
        lambda place: replace(place, index=np.where(place.index == 1, 0, place.index)),
        lambda place: replace(place, index=np.where(place.index == 1, -1, place.index)),
        lambda place: replace(place, first=place.first + 1),
        lambda place: replace(place, first=0),
    ],
    ids=["twice", "lost", "not aligned", "over another"],
)
def test_the_judge_sees_a_planted_place(change):
    net = NETWORKS["table"](np.float32)
    made = single.lay_out(net, 8)
    wrong = (*made.parameters[:2], change(made.parameters[2]), *made.parameters[3:])
    with pytest.raises(AssertionError):
        judge_parameters(net, Program(**(vars(made) | {"parameters": wrong})))


def test_weights_lie_as_the_loops_read_them():
    """By hand: two maps of three taps, which come by turns in both orders of the pixels."""
    of_maps, of_columns = Kind.CONVOLUTION_ALONG_MAPS, Kind.CONVOLUTION_ALONG_COLUMNS
    for lanes, columns, kind in ((2, 9, of_maps), (4, 10, of_columns)):
        conv, pool = Conv2D(1, 2, (1, 3)), MaxPool2D(2)
        net = Network([conv, pool, Dense(2 * (columns // 2 - 1), 3)], input_shape=(1, 2, columns))
        made = single.lay_out(net, lanes)
        assert steps_of(made)[0].kind == kind
        assert made.parameters[0].index.tolist() == [0, 3, 1, 4, 2, 5]
    two = Network([Conv2D(2, 2, (2, 1), bias="unit"), Dense(4, 3)], input_shape=(2, 2, 2))
    made = single.lay_out(two, 2)
    # (kh, kw, c_in, maps) from (maps, c_in, kh, kw); a bias for each pixel's maps, likewise.
    assert made.parameters[0].index.tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    assert made.parameters[1].index.tolist() == [0, 2, 1, 3]


def test_absent_links_and_padding_have_no_weights():
    table = np.array([[1, 0], [1, 1], [0, 1]], bool)
    net = Network([Conv2D(2, 3, (1, 2), connections=table), Dense(6, 3)], input_shape=(2, 1, 3))
    made = single.lay_out(net, 4)
    # (kh, kw, c_in, maps), maps padded to four.
    expected = [
        *([0, 4, -1, -1], [-1, 6, 10, -1]),
        *([1, 5, -1, -1], [-1, 7, 11, -1]),
    ]
    assert made.parameters[0].index.reshape(-1, 4).tolist() == expected
    assert made.parameters[1].index.tolist() == [0, 1, 2, -1]
    assert made.parameters[2].index.reshape(3, 8)[:, 6:].tolist() == [[-1, -1]] * 3
    mask = made.tables[steps_of(made)[0].mask :].reshape(3, 4)
    assert mask.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize(("lanes", "planar"), [(2, 0), (4, 1), (16, 1)])
def test_more_maps_come_from_planar_ones_or_from_repeated_ones(lanes, planar):
    net = NETWORKS["sub-sampling with more maps"](np.float32)  # 3 times as many, then twice
    steps = steps_of(single.lay_out(net, lanes))
    first, second = (step for step in steps if step.kind == Kind.SUBSAMPLING)
    assert (first.planar, first.padded >= 0) == (planar, not planar)
    assert (second.planar, second.padded >= 0) == (0, True)


# --- memory -------------------------------------------------------------------------------------


def regions(net: Network, made: Program, lanes: int) -> dict[str, tuple[int, int]]:
    """Return what may not overlap: first number, and the first behind."""
    at = int(made.input["at"][0])
    found = {"input": (at, at + math.prod(net.input_shape))}
    steps = steps_of(made)
    for k, step in enumerate(steps):
        name = net.layers[k].name
        if step.kind in IN_PLACE and step.y == step.x:
            assert step.dx == step.dy
        else:
            found[f"{name}: y"] = (step.y, step.y + step.numbers)
            if step.dy != step.y:
                found[f"{name}: dy"] = (step.dy, step.dy + step.numbers)
            else:  # planar pooling goes back through the squashing, in the place of its outputs
                assert (k, steps[2].planar, steps[2].activation) == (0, 1, steps[1].activation)
                assert (steps[1].passes, steps[1].dy, steps[2].dx) == (0, step.y, step.y)
        if step.padded >= 0:
            maps = step.c_out if step.kind == Kind.SUBSAMPLING else step.c_in
            size = maps * step.h_in * step.w_in
            found[f"{name}: room"] = (step.padded, step.padded + size)
            found[f"{name}: its gradient"] = (step.d_padded, step.d_padded + size)
        if step.kind == Kind.DROPOUT:
            found[f"{name}: kept"] = (step.kept, step.kept + step.numbers)
        else:
            assert step.kept == -1
        work = single._work(step, lanes)
        assert step.work + work + ALIGNED <= made.size
    assert len({step.work for step in steps}) == 1
    found["scratch"] = (steps[0].work, made.size - ALIGNED)
    return found


def close(found: dict[str, tuple[int, int]]) -> list[tuple[str, str]]:
    """Return what is nearer than a vector's room, or overlaps."""
    ordered = sorted(found.items(), key=lambda each: each[1])
    return [
        (one, other)
        for (one, (_, stop)), (other, (start, _)) in itertools.pairwise(ordered)
        if start < stop + ALIGNED
    ]


@LANES
@pytest.mark.parametrize("name", NETWORKS)
def test_memory_does_not_overlap_and_has_room(name, lanes):
    net = NETWORKS[name](np.float32)
    made = single.lay_out(net, lanes)
    found = regions(net, made, lanes)
    assert close(found) == []
    steps = steps_of(made)
    for k, step in enumerate(steps):
        assert step.numbers >= math.prod(net.shapes[k + 1])
        assert bool(step.learns) == net.layers[k].trainable
        assert {step.x, step.y} <= {first for first, _ in found.values()}
        if k:
            assert (step.x, step.dx) == (steps[k - 1].y, steps[k - 1].dy)
    assert all(first % ALIGNED == 0 for first, _ in found.values())
    assert made.input[["maps", "rows", "columns"]][0].tolist() == net.input_shape
    assert made.steps.shape == (len(net.layers),)


def test_the_judge_sees_a_planted_overlap():
    net = NETWORKS["padding"](np.float32)
    made = single.lay_out(net, 8)
    found = regions(net, made, 8)
    first, stop = found["input"]
    assert close(found | {"input": (first, stop + 2 * ALIGNED)})
    assert close(found | {"more": (made.size - 1, made.size)})


# --- which steps are planar ---------------------------------------------------------------------


def planar(*layers: object, shape: tuple[int, int, int], lanes: int) -> list[int]:
    size = shape
    for layer in layers:
        size = layer.output_shape(size)
    net = Network([*layers, Dense(math.prod(size), 3)], input_shape=shape)
    return [step.planar for step in steps_of(single.lay_out(net, lanes))]


def test_few_maps_of_long_rows_are_planar():
    def layers(maps=6, **options):
        return [Conv2D(1, maps, 5, **options), ScaledTanh(), MaxPool2D(2), Tanh()]

    size = {"shape": (1, 32, 32), "lanes": 16}
    assert planar(*layers(), **size) == [1, 1, 1, 0, 0]
    assert planar(*layers(16), **size) == [0] * 5  # as full along the maps
    assert planar(*layers(6), shape=(1, 32, 32), lanes=2) == [0] * 5
    for options in ({"padding": 1}, {"stride": (1, 2)}, {"bias": "unit"}):
        assert planar(*layers(**options), **size) == [0] * 5
    assert planar(*layers(stride=(2, 1)), **size) == [1, 1, 1, 0, 0]
    table = np.ones((6, 2), bool)
    assert planar(Conv2D(2, 6, 5, connections=table), MaxPool2D(2), shape=(2, 32, 32), lanes=16)[0]
    table[0, 0] = False
    unlinked = Conv2D(2, 6, 5, connections=table)
    assert planar(unlinked, MaxPool2D(2), shape=(2, 32, 32), lanes=16) == [0, 0, 0]
    conv = Conv2D(1, 6, 5)
    assert planar(conv, MaxPool2D(3, 2), **size) == [0, 0, 0]
    assert planar(Conv2D(1, 6, 5), Tanh(), **size) == [0, 0, 0]
    assert planar(ScaledTanh(), Conv2D(1, 6, 5), MaxPool2D(2), **size) == [0] * 4
    assert planar(MaxPool2D(2), **size) == [0, 0]


def test_lenet5s_steps():
    net = models.lenet5()
    made = single.lay_out(net, 16)
    kinds = [step.kind for step in steps_of(made)]
    assert kinds == [
        *(Kind.CONVOLUTION_ALONG_COLUMNS, Kind.ACTIVATION, Kind.SUBSAMPLING, Kind.ACTIVATION),
        *(Kind.CONVOLUTION_ALONG_MAPS, Kind.ACTIVATION, Kind.SUBSAMPLING, Kind.ACTIVATION),
        *(Kind.FULL, Kind.ACTIVATION, Kind.FULL, Kind.ACTIVATION, Kind.DISTANCES),
    ]
    there = sum(int((place.index >= 0).sum()) for place in made.parameters)
    assert there == net.counts().parameters + 840  # the bitmaps


def test_what_is_unknown_is_refused():
    class Doubled(Dense):
        pass

    net = Network([Doubled(4, 2, name="TWICE")], input_shape=(1, 2, 2))
    with pytest.raises(Unsupported, match=r"^layer TWICE: only engine='layers' knows Doubled"):
        single.lay_out(net, 16)
