"""The lane engine's programs: what lies where in memory, and how a batch is cut into pieces."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from engine_cases import CASES, EVERYTHING

from lenet_fast import memory, models
from lenet_fast.engines import tile
from lenet_fast.engines.compile import Program
from lenet_fast.engines.program import Item, ItemKind, Kind, Step
from lenet_fast.layers import (
    GELU,
    RBF,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Subsample2D,
    Tanh,
)
from lenet_fast.network import Network

NETWORKS = {
    **{name: case.network for name, case in CASES.items()},
    "everything": EVERYTHING.network,
    **{
        f"LeNet-5, {pooling}, {output}": lambda dtype, pooling=pooling, output=output: (
            models.lenet5(pooling=pooling, output=output, dtype=dtype)
        )
        for pooling in ("subsample", "average", "max", None)
        for output in ("rbf", "softmax")
    },
}


IN_PLACE = (Kind.ACTIVATION, Kind.DROPOUT)
"""What may overwrite its input."""


def steps_of(made: Program) -> list[Step]:
    return [Step(*row) for row in made.steps.tolist()]


# --- where things lie  ---

Region = tuple[int, int]


def at(first: int, vectors: int) -> Region:
    return first, first + vectors


def lasting(net: Network, made: Program) -> dict[str, Region]:
    """Return what must be there from the first step forward to the last one back."""
    found = {"input": at(made.input["at"][0], math.prod(net.input_shape))}
    for k, (step, layer) in enumerate(zip(steps_of(made), net.layers, strict=True)):
        before, after = net.shapes[k], net.shapes[k + 1]
        if not (step.kind in IN_PLACE and step.y == step.x):
            found[f"{layer.name}: output"] = at(step.y, math.prod(after))
        if isinstance(layer, Conv2D) and any(layer.padding):
            top, bottom, left, right = layer.padding
            rows, columns = before[1] + top + bottom, before[2] + left + right
            found[f"{layer.name}: padded"] = at(step.padded, before[0] * rows * columns)
        else:
            assert step.padded == -1
        # A convolution that covers its input is a dense layer, which folds tile by tile.
        if layer.trainable and step.kind != Kind.FULL:
            for name, room in (("w", step.sums_w), ("b", step.sums_b)):
                if name in layer.parameters:
                    size = layer.parameters[name].size
                    found[f"{layer.name}: sums of {name}"] = at(room, size)
                else:
                    assert room == -1
        else:
            assert step.sums_w == step.sums_b == -1
    last = steps_of(made)[-1]
    seen = math.prod(net.shapes[-2])
    # Outputs, gradients and Hessians of each image; an RBF's inputs and their gradients, too.
    found["outputs by image"] = at(last.rows, 3 * last.c_out + 2 * seen)
    return found


def scratch(net: Network, made: Program, lanes_count: int) -> Region:
    """Return the scratch that the hungriest step needs."""
    needs = [0]
    for k, (step, layer) in enumerate(zip(steps_of(made), net.layers, strict=True)):
        before, after = net.shapes[k], net.shapes[k + 1]
        inputs = math.prod(before)
        if step.kind == Kind.FULL:  # the squares of the inputs, and those transposed
            needs.append(inputs + -(-inputs // lanes_count) * lanes_count)
        elif isinstance(layer, Conv2D):  # dy spread out, and dx of the padded input
            top, bottom, left, right = layer.padding
            rows, columns = before[1] + top + bottom, before[2] + left + right
            spread = (layer.kernel[0] - 1) * layer.dilation[0] + rows
            spread *= (layer.kernel[1] - 1) * layer.dilation[1] + columns
            needs.append(after[0] * spread + before[0] * rows * columns)
        elif isinstance(layer, Subsample2D):
            needs.append(after[1] * after[2])
    assert len(set(made.steps["work"])) == 1
    return at(made.steps["work"][0], max(needs))


def overlaps(regions: dict[str, Region]) -> list[tuple[str, str]]:
    found = []
    for (one, (first, last)), (other, (start, stop)) in itertools.combinations(regions.items(), 2):
        if first < stop and start < last:
            found.append((one, other))
    return found


def judge(
    net: Network, made: Program, lanes_count: int, *, inputs: bool = False
) -> list[tuple[str, str]]:
    """Return what overlaps and must not; `inputs`: gradients go back to the images."""
    wrong = []
    keep = lasting(net, made) | {"scratch": scratch(net, made, lanes_count)}
    wrong += overlaps(keep)
    learning = [k for k, layer in enumerate(net.layers) if layer.trainable]
    steps = steps_of(made)
    for k, (step, layer) in enumerate(zip(steps, net.layers, strict=True)):
        sizes = math.prod(net.shapes[k]), math.prod(net.shapes[k + 1])
        moving = {f"{layer.name}: dy": at(step.dy, sizes[1])}
        in_place = step.kind in IN_PLACE and step.y == step.x
        if (k or inputs) and not (in_place and step.dx == step.dy):
            moving[f"{layer.name}: dx"] = at(step.dx, sizes[0])
        wrong += overlaps(keep | moving)[len(overlaps(keep)) :]
        if k:
            assert step.dx == steps[k - 1].dy
            assert step.x == steps[k - 1].y
        assert bool(step.passes) == (inputs or bool(learning and k > learning[0]))
        assert bool(step.learns) == layer.trainable
        for first, last in (*keep.values(), *moving.values()):
            if not 0 <= first <= last <= made.size:
                wrong.append((layer.name, "beyond the end"))
    return wrong


@pytest.mark.parametrize("lanes_count", [2, 16])
@pytest.mark.parametrize("name", NETWORKS)
def test_memory_does_not_overlap(name, lanes_count):
    net = NETWORKS[name](np.float32)
    made = tile.lay_out(net, lanes_count)
    assert judge(net, made, lanes_count) == []
    to_images = tile.lay_out(net, lanes_count, inputs=True)
    assert judge(net, to_images, lanes_count, inputs=True) == []
    assert made.steps[["w", "b"]].tolist() == to_images.steps[["w", "b"]].tolist()
    assert made.steps.shape == (len(net.layers),)
    assert made.input[["maps", "rows", "columns"]][0].tolist() == net.input_shape


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_at_dense_layers_stay(name):
    """They are needed once more after the way back, for gradients per example."""
    net = NETWORKS[name](np.float32)
    for inputs in (False, True):
        steps = steps_of(tile.lay_out(net, 16, inputs=inputs))
        sizes = [math.prod(shape) for shape in net.shapes]
        gradients: dict[int, int] = {}
        for k, step in enumerate(steps):
            for first, size in ((step.dx, sizes[k]), (step.dy, sizes[k + 1])):
                if first >= 0:
                    gradients[first] = max(size, gradients.get(first, 0))
        for step in steps:
            if step.kind == Kind.FULL:
                others = {first: size for first, size in gradients.items() if first != step.dy}
                for first, size in others.items():
                    assert first + size <= step.dy or step.dy + step.c_out <= first


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("y", lambda step: step.y - 1),
        ("padded", lambda step: step.padded + 3),
        ("sums_w", lambda step: step.sums_b),
        ("dx", lambda step: step.dy + 1),
    ],
)
def test_the_judge_sees_a_planted_overlap(field, change):
    net = NETWORKS["padding"](np.float32)
    made = tile.lay_out(net, 16)
    step = steps_of(made)[2]
    made.steps[field][2] = change(step)
    if field == "dx":
        made.steps["dy"][1] = change(step)
    if field == "y":
        made.steps["x"][3] = change(step)
    assert judge(net, made, 16)


def test_activations_work_in_place():
    """But for the first layer's, whose input stays, and where a squashed output is needed."""
    layers = [Tanh(), Conv2D(1, 2, 3), Tanh(), ScaledTanh(), Dense(32, 3), Tanh()]
    steps = steps_of(tile.lay_out(Network(layers, input_shape=(1, 6, 6)), 16))
    assert [step.x == step.y for step in steps] == [False, False, True, False, False, True]


def test_dropout_works_in_place():
    """But for the first layer's, and where an output is needed whose slope it would change."""
    layers = [
        *(Dropout(), Conv2D(1, 2, 3), Dropout2D(), ReLU(), Dropout(), Dropout(), Tanh()),
        *(Conv2D(2, 2, 1), ReLU(), Dropout(), Tanh(), Dropout(), GELU(), Dropout(), Dense(32, 3)),
    ]
    steps = steps_of(tile.lay_out(Network(layers, input_shape=(1, 6, 6)), 16))
    assert [step.x == step.y for step in steps] == [
        *(False, False, True, True, True, False, True),
        *(False, True, True, False, False, False, True, False),
    ]
    assert [step.x == step.dx for step in steps] == [False] * len(steps)


# --- parameters  ---


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_that_learn_come_first(name):
    net = NETWORKS[name](np.float32)
    made = tile.lay_out(net, 16)
    assert [place.name for place in made.parameters] == [
        *net.trainable_names,
        *(name for name in net.parameters if name not in net.trainable_names),
    ]
    first = 0
    for place in made.parameters:
        assert (place.first, place.last) == (first, first + net.parameters[place.name].size)
        first = place.last
    assert made.values == first == sum(array.size for array in net.parameters.values())
    assert made.trained == sum(net.parameters[name].size for name in net.trainable_names)
    by_name = {place.name: place.first for place in made.parameters}
    for step, layer in zip(steps_of(made), net.layers, strict=True):
        assert step.w == by_name.get(f"{layer.name}.w", -1)
        assert step.b == by_name.get(f"{layer.name}.b", -1)


def test_fixed_parameters_lie_behind():
    net = models.lenet5()
    made = tile.lay_out(net, 16)
    assert made.parameters[-1].name == "OUTPUT.w"
    # 60,000 free parameters, and room for the 36 absent links of C3.
    assert (made.trained, made.values) == (60_000 + 36 * 25, 60_000 + 36 * 25 + 840)


def test_a_network_that_learns_nothing():
    net = Network([RBF(4, 3, centres=np.eye(3, 4))], input_shape=(1, 2, 2), output="rbf")
    made = tile.lay_out(net, 16)
    assert (made.trained, made.values) == (0, 12)
    assert not made.steps["passes"].any()


# --- what a step is  ---


def test_steps_of_lenet5():
    steps = steps_of(tile.lay_out(models.lenet5(), 16))
    assert [step.kind for step in steps] == [
        *(Kind.CONVOLUTION, Kind.ACTIVATION, Kind.SUBSAMPLING, Kind.ACTIVATION),
        *(Kind.CONVOLUTION, Kind.ACTIVATION, Kind.SUBSAMPLING, Kind.ACTIVATION),
        *(Kind.FULL, Kind.ACTIVATION, Kind.FULL, Kind.ACTIVATION, Kind.DISTANCES),
    ]
    c3 = steps[4]
    assert (c3.c_in, c3.h_in, c3.w_in, c3.c_out, c3.h_out, c3.w_out) == (6, 14, 14, 16, 10, 10)
    assert (c3.kh, c3.kw, c3.stride_v, c3.dilation_h, c3.width) == (5, 5, 1, 1, 6)


def test_numbers_of_a_step():
    layers = [
        Conv2D(1, 2, 3, padding=1, pad_value=-0.5),
        Subsample2D(2, (2, 1), reduction="mean"),
        MaxPool2D((1, 2), (3, 2)),
        Dense(8, 3),
    ]
    made = tile.lay_out(Network(layers, input_shape=(1, 8, 4)), 16)
    conv, mean, pool, _ = steps_of(made)
    assert (conv.pad_value, mean.scale) == (-0.5, 0.5)
    assert (pool.kh, pool.kw, pool.stride_v, pool.stride_h) == (1, 2, 3, 2)


def test_tables_lie_one_behind_the_other():
    seen = np.array([[1, 0], [0, 1], [1, 1]], bool)
    layers = [
        Conv2D(1, 2, 3),
        Conv2D(2, 3, 2, connections=seen),
        Conv2D(3, 3, 2, groups=3),
        Dense(12, 2),
    ]
    made = tile.lay_out(Network(layers, input_shape=(1, 6, 6)), 16)
    steps = steps_of(made)
    assert [step.table for step in steps] == [0, 2, 8, -1]
    assert [step.width for step in steps[:3]] == [1, 2, 1]
    assert made.tables.tolist() == [1, 1, *seen.reshape(-1), 1, 1, 1]


# --- how a batch is cut  ---


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_blocks_are_whole_tiles(count):
    for first in (0, 7):
        for n in (1, count - 1, count, count + 1, 100, 256, 257, 60_000):
            last = first + max(n, 1)
            blocks = tile.blocks_of(first, last, count)
            assert len(blocks) == min(-(-max(n, 1) // count), tile.BLOCKS)
            assert [blocks[0][0], blocks[-1][1]] == [first, last]
            assert all(one[1] == other[0] for one, other in itertools.pairwise(blocks))
            assert all((stop - start) % count == 0 for start, stop in blocks[:-1])
            tiles = [-(-(stop - start) // count) for start, stop in blocks]
            assert max(tiles) - min(tiles) <= 1


@pytest.mark.parametrize(
    ("n", "batch_size", "trained"), [(1, 1, 5), (100, 33, 20_000), (64, 64, 8192), (9, 100, 0)]
)
def test_items_of_a_training(n, batch_size, trained):
    work = tile.batch_items(n, batch_size, 4, trained, ItemKind.GRADIENT)
    items = [Item(*row) for row in work.items.tolist()]
    assert len(work.batches) == -(-n // batch_size)
    first = done = 0
    for step, batch in enumerate(work.batches):
        blocks = items[batch]
        assert batch.start == done
        for k, item in enumerate(blocks):
            assert (item.kind, item.block, item.opened) == (ItemKind.GRADIENT, k, done)
            assert item.first == first
            assert (item.step, item.start) == (step, step * batch_size)
            first = item.last
        assert first == min((step + 1) * batch_size, n)
        images = blocks[-1].last - blocks[0].first
        done += len(blocks)
        at = 0
        for item in items[done:]:
            if item.kind != ItemKind.UPDATE:
                break
            # It waits for all blocks of its batch, and the next batch for it.
            assert (item.opened, item.block) == (batch.stop, len(blocks))
            assert (item.images, item.step, item.first) == (images, step, at)
            at = item.last
            done += 1
        assert at == trained
    assert done == len(items)
    assert work.blocks == max(batch.stop - batch.start for batch in work.batches)
    assert not work.items.flags.writeable  # it is kept and shared


def test_items_of_a_sum():
    """A batch's gradients are divided by 1, not by its images."""
    work = tile.batch_items(70, 70, 4, 9000, ItemKind.CLIPPED, mean=False)
    updates = work.items[work.items["kind"] == ItemKind.UPDATE]
    assert updates[["first", "last", "images"]].tolist() == [(0, 8192, 1), (8192, 9000, 1)]


def test_items_of_the_gradients_per_example():
    work = tile.example_items(40, 16)  # one tile each: all threads have work
    found = work.items[["kind", "first", "last", "opened"]].tolist()
    assert found == [(ItemKind.EXAMPLES, k, min(k + 16, 40), 0) for k in (0, 16, 32)]


@pytest.mark.parametrize("n", [1, 16, 17, 150, 256, 257, 1000, 1024, 1025])
def test_items_of_a_prediction_of_few_images(n):
    """Whole tiles, one each up to 16; more of many."""
    work = tile.predict_items(n, 16)
    items = [Item(*row) for row in work.items.tolist()]
    assert [items[0].first, items[-1].last] == [0, n]
    assert all(one.last == other.first for one, other in itertools.pairwise(items))
    assert {(item.kind, item.opened) for item in items} == {(ItemKind.FORWARD, 0)}
    tiles = -(-n // 16)
    assert items[0].last == min(n, 16 * min(4, -(-tiles // 16)))
    assert work.blocks == len(items)
    assert len(items) >= min(tiles, 8)


def test_threads_that_a_prediction_is_worth():
    net = models.lenet5(connections="full", pooling="max", output="softmax")
    cost = tile.multiply_adds(tile.lay_out(net, 16))
    convolved = 28 * 28 * 6 * 25 + 100 * 16 * 150 + 120 * 400
    squashed, pooled = 6 * 28 * 28 + 16 * 100 + 120 + 84, 4 * (6 * 14 * 14 + 16 * 25)
    assert cost == convolved + 84 * 120 + 10 * 84 + squashed + pooled
    assert [tile.threads_worth(n * cost) for n in (1, 16, 64, 1000)] == [1, 3, 13, 204]
    small = Network([Dense(36, 3)], input_shape=(1, 6, 6))
    assert tile.threads_worth(20_000 * tile.multiply_adds(tile.lay_out(small, 16))) == 1


def test_items_of_a_prediction():
    work = tile.forward_items(150, 16)
    items = [Item(*row) for row in work.items.tolist()]
    assert [(item.first, item.last) for item in items] == [(0, 64), (64, 128), (128, 150)]
    assert {(item.kind, item.opened) for item in items} == {(ItemKind.FORWARD, 0)}


# --- memory  ---


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_aligned_memory(count, dtype):
    array = memory.aligned(count, dtype)
    assert (array.shape, array.dtype) == ((count,), dtype)
    assert array.ctypes.data % 64 == 0 or not count
    assert array.flags.writeable
    array.fill(1)
