"""What cannot be trained, collected into one error, and what only the engines cannot train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_WAY = "; lenet_fast.torch.wrap takes any"


class Beyond(TypeError, ValueError):  # noqa: N818  (often no error)
    """PyTorch computes it, and the engines do not: a criterion, an optimizer or a scheduler.

    Attributes
    ----------
    reason : str
        The message without the way out.
    """

    def __init__(self, message: str) -> None:
        self.reason = message.removesuffix(_WAY)
        super().__init__(self.reason + _WAY)


class Refusals:
    """Collects errors, to raise them as one.

    Attributes
    ----------
    found : list of TypeError and ValueError
    beyond : list of str
        Reasons why the engines cannot do everything, which are no errors.
    """

    def __init__(self) -> None:
        self.found: list[TypeError | ValueError] = []
        self.beyond: list[str] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Collect an error of the block, or the reason why it is beyond the engines."""
        try:
            yield
        except Beyond as error:
            self.beyond.append(error.reason)
        except (TypeError, ValueError) as error:
            self.found.append(error)

    def error(self) -> TypeError | ValueError:
        """Return the error, or one that has the messages of all."""
        if len(self.found) == 1:
            return self.found[0]
        kinds = {type(error) for error in self.found}
        kind = kinds.pop() if len(kinds) == 1 else ValueError
        return kind("\n- ".join(["fit: this cannot be trained:", *map(str, self.found)]))
