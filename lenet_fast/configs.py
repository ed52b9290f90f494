"""Validation of untrusted configuration dicts from model files: layers, losses, networks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from lenet_fast import checks

Kind = TypeVar("Kind")


def checked(
    what: str, config: object, keys: Collection[str], added: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a config with exactly the expected keys; ValueError if it is anything else.

    `added` has the values of keys that older files lack.

    Examples
    --------
    >>> from lenet_fast import configs
    >>> configs.checked("loss", {"j": 20.0}, ("j", "curvature"), {"curvature": "paper"})
    {'curvature': 'paper', 'j': 20.0}
    >>> configs.checked("loss", {"k": 20.0}, ("j",))
    Traceback (most recent call last):
    ValueError: loss: expected the keys j, got k
    """
    if not isinstance(config, dict):
        raise ValueError(f"{what}: expected a dict, got {checks.kind(config)}")
    whole: dict[str, Any] = {**(added or {}), **config}
    if whole.keys() != set(keys):
        got = ", ".join(map(str, config))
        raise ValueError(f"{what}: expected the keys {', '.join(keys)}, got {got[:200]}")
    return whole


def kind_of(what: str, config: object, key: str, kinds: Mapping[str, Kind]) -> Kind:
    """Return the entry of `kinds` that a config names; ValueError if it names none of them.

    Examples
    --------
    >>> from lenet_fast import configs
    >>> configs.kind_of("loss", {"name": "map"}, "name", {"map": 1, "penalty": 2})
    1
    >>> configs.kind_of("loss", {"name": "mop"}, "name", {"map": 1, "penalty": 2})
    Traceback (most recent call last):
    ValueError: loss: expected a name out of map, penalty, got str 'mop'
    """
    if not isinstance(config, dict):
        raise ValueError(f"{what}: expected a dict, got {checks.kind(config)}")
    name = config.get(key)
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(
            f"{what}: expected a {key} out of {', '.join(kinds)}, got {checks.kind(name)}"
        )
    return kinds[name]
