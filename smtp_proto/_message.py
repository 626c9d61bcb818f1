"""What every message has in common: it is a value. Frozen, slotted, compared by its fields.

Not dataclasses, for two reasons that were measured: importing `dataclasses` costs as much as importing
the rest of the core, and most messages turn what they are given into its canonical form anyway.

To call a class with named arguments costs three times what it costs to fill its slots. What is made for each
recipient, of values that were judged already, is made by a function that stands beside its class.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, NoReturn, TypeAlias, TypeVar

_V = TypeVar("_V")

_Refusal: TypeAlias = Callable[..., NoReturn]


def field(slot: str) -> Any:
    """An attribute that can be read and not assigned. Its constructor fills the slot behind it.

    The alternative, a `__setattr__` that refuses, would make the constructors three times slower.
    """
    return property(attrgetter(slot))


class Message:
    """One thing said by a client or a server. Immutable; equal if of the same type with equal fields."""

    __slots__ = ()

    _fields: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that make up the value, in order."""
    _secret: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that `repr` hides: they are somebody's password."""

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
        return "<hidden>" if name in self._secret and value is not None else repr(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(zip(self._fields, self._values(), strict=True)))


def _rebuild(cls: type[Message], fields: dict[str, Any]) -> Message:
    return cls(**fields)


class FrozenMapping(dict[str, _V]):
    """A dict that cannot change, and so can be hashed."""

    __slots__ = ()

    def _refuse(self, *arguments: object, **named: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot change")

    __setitem__: _Refusal = _refuse
    __delitem__: _Refusal = _refuse
    __ior__: _Refusal = _refuse
    clear: _Refusal = _refuse
    pop: _Refusal = _refuse
    popitem: _Refusal = _refuse
    setdefault: _Refusal = _refuse
    update: _Refusal = _refuse

    # To mypy a dict has no hash, and gets none back: this one cannot change.
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)
