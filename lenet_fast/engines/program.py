"""The contract with the compiled loops: what Python tells them, as records of named fields.

A program is a network for the loops: a :class:`Step` per layer, and an :class:`Input`. A call adds
a :class:`Loss`, an :class:`Update`, and for the lane engine a list of :class:`Item`; single
predictions need a list of :class:`Binding`. A record becomes a row of a structured array (see
:func:`lenet_fast.engines.compile.records`): an ``int`` is a ``Py_ssize_t``, a ``float`` a
``double``, in the order given here.

All other sides read the fields by name. ``kernels/program.pxd`` and
``lenet_fast/backends/numba_backend/program.py`` are derived from this file: after a change, run
``python tests/program_files.py``. A test compares them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What a step does."""

    CONVOLUTION = 0  # of a tile
    CONVOLUTION_ALONG_COLUMNS = 1  # of one image, from planar maps to planar ones
    CONVOLUTION_ALONG_MAPS = 2  # of one image, any other
    SUBSAMPLING = 3  # and average pooling, which has no weights
    MAXIMUM = 4
    ACTIVATION = 5
    FULL = 6  # dense layers, and convolutions that cover their input
    DISTANCES = 7  # radial basis functions
    DROPOUT = 8


class Activation(IntEnum):
    """Which function an activation is."""

    NO_ACTIVATION = -1
    SCALED_TANH = 0
    TANH = 1
    SIGMOID = 2
    RELU = 3
    LEAKY_RELU = 4
    ELU = 5
    GELU = 6
    GELU_TANH = 7


FROM_INPUT = (Activation.GELU, Activation.GELU_TANH)
"""Those that take their slope from their input; the others take it from their output."""


class Step(NamedTuple):
    """What a layer does, and where its numbers lie.

    Places in memory count vectors for the lane engine, numbers for the online engine; places among
    the parameters count numbers. -1: there is none.
    """

    kind: int
    activation: int = Activation.NO_ACTIVATION  # of planar pooling: what its way back goes through
    option: float = 0.0  # of an activation: slope of LeakyReLU, alpha of ELU; of dropout: p
    x: int = 0  # input
    y: int = 0  # output
    dx: int = -1  # and their gradients
    dy: int = -1
    w: int = -1  # parameters
    b: int = -1
    unit: int = 0  # whether there is a bias, or a draw of dropout, per unit, else per map
    learns: int = 0
    passes: int = 0  # whether the gradient at the input is needed
    c_in: int = 1  # the input, padding included
    h_in: int = 1
    w_in: int = 1
    c_out: int = 1
    h_out: int = 1
    w_out: int = 1
    kh: int = 1
    kw: int = 1
    stride_v: int = 1
    stride_h: int = 1
    dilation_v: int = 1
    dilation_h: int = 1
    top: int = 0  # the padding before the first row and column
    left: int = 0
    h_bare: int = 1  # the input without padding
    w_bare: int = 1
    scale: float = 1.0  # what the sum of a window is multiplied with
    pad_value: float = 0.0
    # The input as the loops read it: padded, its maps repeated, or map by map; -1: as it is.
    padded: int = -1
    d_padded: int = -1  # its gradient; online engine
    sums_w: int = -1  # where the lane engine adds the gradients lane by lane
    sums_b: int = -1
    table: int = -1  # where the connections of the lane engine begin
    width: int = 1  # input maps per group
    mask: int = -1  # where the online engine's mask of the weights' gradient begins
    planar: int = 0  # whether the input is planar; online engine
    pitch: int = 0  # numbers per row: of planar maps, or of the weights; online engine
    numbers: int = 0  # in the output, padding of rows included; online engine
    kept: int = -1  # of dropout: the factors that the online engine drew
    work: int = 0  # scratch, the same for all steps
    rows: int = 0  # of the last step of the lane engine: the outputs image by image


class Input(NamedTuple):
    """Where the images go."""

    at: int
    maps: int
    rows: int
    columns: int
    planar: int = 0  # whether the maps lie one after the other; online engine
    background: float = 0.0  # what 0 of a byte becomes
    foreground: float = 1.0  # and 255
    # Of the lane engine: how many vectors a tile takes, and how many tiles go through the layers
    # from step `split` on together, so that large weights are read once for all of them.
    size: int = 0
    tiles: int = 1
    split: int = 0


class ItemKind(IntEnum):
    """What an item is."""

    FORWARD = 0
    GRADIENT = 1
    CURVATURE = 2
    EXAMPLES = 3  # the gradient of each image, written out
    CLIPPED = 4  # and their sum, each scaled to a norm of at most `clip`
    UPDATE = 5


class Item(NamedTuple):
    """What a thread of the lane engine does at a time."""

    kind: int
    first: int  # images, or parameters, from first to last
    last: int
    opened: int  # how many items must be done before
    block: int = 0  # which of the gradients; of an update: how many there are
    images: int = 0  # of an update: in the batch
    step: int = 0  # the number of the training step in this call
    start: int = 0  # of a gradient: the first image of the batch


class LossKind(IntEnum):
    """Which function a loss is."""

    CROSS_ENTROPY = 0
    SQUARED_ERROR = 1
    MAP = 2
    PENALTY = 3


class Loss(NamedTuple):
    """What an image costs."""

    kind: int
    floor: float = 0.0  # of the exponents: minus j of the MAP criterion, else minus infinity
    scale: float = 0.0  # of the squared error
    on: float = 0.0  # and its targets: for the right class,
    off: float = 0.0  # and for the others
    smoothing: float = 0.0  # of the cross-entropy
    exact: int = 0  # whether the MAP criterion's Hessian is taken at the inputs of the RBF layer
    smallest_wins: int = 0  # whether the class of the smallest output is the answer


class Rule(IntEnum):
    """How parameters change."""

    NO_RULE = 0  # only the mean gradient is computed
    SGD = 1
    ADAMW = 2
    ADAM = 3
    RMSPROP = 4
    ADADELTA = 5


RULES = {rule.name.lower(): rule for rule in Rule if rule is not Rule.NO_RULE}
"""By the names that optimisers give them."""


class Update(NamedTuple):
    """What becomes of the gradients of a step; the options are those of an optimiser's rule.

    A call has one per step, which differ in their rates and step numbers.
    """

    rule: int = Rule.NO_RULE
    rate: float = 0.0
    momentum: float = 0.0
    nesterov: int = 0
    weight_decay: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0
    done: int = 0  # steps before this one
    seed: int = -1  # of the draws of dropout; -1: nothing is dropped

    @property
    def slots(self) -> int:
        """How many numbers the rule keeps for each parameter from step to step."""
        counts = {
            Rule.SGD: int(self.momentum > 0),
            Rule.ADAMW: 2,
            Rule.ADAM: 2,
            Rule.RMSPROP: 1 + int(self.momentum > 0) + int(self.beta1 > 0),
            Rule.ADADELTA: 2,
        }
        return counts[Rule(self.rule)]


class Binding(NamedTuple):
    """Where a step of the online engine finds a parameter when it predicts."""

    step: int
    bias: int  # whether it is the bias
    pitch: int  # numbers per row
    place: int  # where it is put in the order of the loops, in numbers; -1: read as it is
    first: int  # which of the index says where its numbers come from
    count: int  # type: ignore[assignment]  # how many; hides a method of tuples


RECORDS = (Step, Input, Item, Loss, Update, Binding)
NUMBERS = (Kind, Activation, ItemKind, LossKind, Rule)
