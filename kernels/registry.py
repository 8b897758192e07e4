"""What activations, losses and optimizers share: a dict of named formulas that others may add to."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar


class Formula(Protocol):
    """Something with a name and a key that changes whenever its formula does."""

    @property
    def name(self) -> str:
        """What settings call it."""

    @property
    def key(self) -> str:
        """Names the formula."""


Item = TypeVar("Item", bound=Formula)


def add(registry: dict[str, Item], what: str, item: Item) -> Item:
    """In place: enter an item under its name; the same one may be entered again.

    Raises
    ------
    ValueError
        When another one has the name.
    """
    key, known = item.key, registry.get(item.name)
    if known is not None and known.key != key:
        raise ValueError(f"another {what} is called {item.name!r}")
    registry[item.name] = item
    return item


def get(registry: dict[str, Any], what: str, name: str) -> Any:
    """Look an item up.

    Raises
    ------
    ValueError
        When there is none of that name; it lists the names.
    """
    if name not in registry:
        raise ValueError(f"unknown {what} {name!r}; known: {', '.join(sorted(registry))}")
    return registry[name]
