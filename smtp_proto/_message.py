"""What every message has in common: it is a value. Frozen, slotted, compared by its fields.

Not dataclasses, for two reasons that were measured: importing `dataclasses` costs as much as importing
the rest of the core, and most messages turn what they are given into its canonical form anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

_V = TypeVar("_V")

# How a constructor fills the slots of an object that is otherwise frozen.
assign = object.__setattr__


class Message:
    """One thing said by a client or a server. Immutable; equal if of the same type with equal fields."""

    __slots__ = ()

    _fields: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that make up the value, in order."""
    _secret: ClassVar[bool] = False
    """Whether `repr` hides octets: they are somebody's password."""

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self._show(name)}" for name in self._fields)
        return f"{type(self).__name__}({shown})"

    def _show(self, name: str) -> str:
        value = getattr(self, name)
        return "<hidden>" if self._secret and isinstance(value, bytes) else repr(value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(zip(self._fields, self._values(), strict=True)))


def _rebuild(cls: type[Message], fields: dict[str, Any]) -> Message:
    return cls(**fields)


class FrozenMapping(Mapping[str, _V]):
    """A mapping that cannot change and can be hashed."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, _V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> _V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)
