"""Descriptions as model files hold them, of layers, losses and networks; none is trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from lenet_fast import checks

Kind = TypeVar("Kind")


def checked(
    what: str, config: object, keys: Collection[str], added: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a description with exactly the keys expected; ValueError if it is anything else.

    `added` has the values of keys that older files lack.
    """
    if not isinstance(config, dict):
        raise ValueError(f"{what}: expected a dict, got {checks.kind(config)}")
    whole: dict[str, Any] = {**(added or {}), **config}
    if whole.keys() != set(keys):
        found = ", ".join(map(str, config))
        raise ValueError(f"{what}: expected the keys {', '.join(keys)}, got {found[:200]}")
    return whole


def kind_of(what: str, config: object, key: str, kinds: Mapping[str, Kind]) -> Kind:
    """Return the one of `kinds` that a description names; ValueError if it names none."""
    if not isinstance(config, dict):
        raise ValueError(f"{what}: expected a dict, got {checks.kind(config)}")
    name = config.get(key)
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(
            f"{what}: expected a {key} out of {', '.join(kinds)}, got {checks.kind(name)}"
        )
    return kinds[name]
