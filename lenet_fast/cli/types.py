"""Types of option values: each returns the value, or says what it expected."""

from __future__ import annotations

import math
from typing import Any, get_args

import click

from lenet_fast import choices

ACTIVATIONS = get_args(choices.Activation)


class Integer(click.IntRange):
    """An int in a range."""

    name = "integer"  # in messages; click's is "integer range"


class Number(click.FloatRange):
    """A finite number in a range; NaN would pass every comparison.

    With `endless`, infinity is allowed as well.
    """

    name = "number"

    def __init__(
        self,
        min: float | None = None,
        max: float | None = None,
        *,
        endless: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(min, max, **settings)
        self._endless = endless

    def _describe_range(self) -> str:
        unbounded = self.min is None and self.max is None
        return "" if unbounded else super()._describe_range()  # click's would be x<=None

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Return the number in an option's text."""
        number = float(super().convert(value, param, context))
        if not (math.isfinite(number) or (self._endless and number == math.inf)):
            self.fail(f"{value} is not a finite number.", param, context)
        return number


RATE = Number(min=0, min_open=True)


class Activation(click.ParamType):
    """An activation by its name, with its option behind a colon."""

    name = "activation"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows."""
        return f"[{'|'.join(ACTIVATIONS)}]"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        """Return the text in the form in which a run records it."""
        from lenet_fast import layers

        try:
            return layers.activation("activation", value).text
        except (TypeError, ValueError) as error:
            self.fail(str(error).removeprefix("activation: "), param, context)


class Rates(click.ParamType):
    """Learning rates, separated by commas."""

    name = "rates"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> list[float]:
        """Return the numbers in an option's text."""
        try:
            numbers = [float(rate) for rate in value.split(",")]
        except ValueError:
            self.fail(f"expected numbers separated by commas, got {value!r}", param, context)
        return [RATE.convert(rate, param, context) for rate in numbers]


class Distort(click.ParamType):
    """A preset of distortions, or amounts of one's own."""

    name = "distort"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        """Return the text, checked."""
        from lenet_fast.data import distort

        if value == "none" or value in distort.PRESETS:
            return str(value)
        try:
            distortion(value)
        except (TypeError, ValueError) as error:
            self.fail(str(error), param, context)
        return str(value)


def distortion(text: str) -> Any:
    """Return the :class:`~lenet_fast.data.Distortion` that a preset's name or amounts describe."""
    from lenet_fast.data import distort

    if text in distort.PRESETS:
        return distort.PRESETS[text]
    names = tuple(distort.Distortion().config())
    pairs = [part.partition("=") for part in text.split(",")]
    amounts = {name.strip(): amount for name, _, amount in pairs}
    try:
        if len(amounts) < len(pairs):
            raise ValueError
        numbers = {name: float(amount) for name, amount in amounts.items()}
    except ValueError:
        numbers = {"": 0.0}
    if not numbers.keys() <= set(names):
        raise ValueError(
            f"expected none, {', '.join(distort.PRESETS)}, or amounts such as shift=2,rotation=10, "
            f"out of {', '.join(names)}, got {text!r}"
        )
    return distort.Distortion(**numbers)
