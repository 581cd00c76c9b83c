"""Builder of Gremlin queries."""

from __future__ import annotations

from typing import Any, Callable

_QUOTES = ("'", '"', "\0")


class Predicate:
    """A condition on a value, such as `Gt(10)`, for the steps `Has`, `HasEither`, and `Metrics`."""

    def __init__(self, name: str, arguments: tuple[object, ...]) -> None:
        self._text = f"{name}({', '.join(map(_format, arguments))})"

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"P.{self._text}"


class _Predicates:
    """All predicates: `P.Gt(10)` is the predicate `Gt(10)`. The server checks the name."""

    def __getattr__(self, name: str) -> Callable[..., Predicate]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: Predicate(name, arguments)


class Traversal:
    """A Gremlin query. Every step of the language is a method that returns a longer query.

    Names of steps are not case-sensitive, and a trailing `_` is removed, so that Python's keywords can
    be written.

    >>> from skypy import G, P
    >>> print(G.V().Has("Type", "bridge").Out().Values("Name"))
    G.V().Has('Type', 'bridge').Out().Values('Name')
    >>> print(G.Flows().Has("Metric.ABBytes", P.Gt(1000)).Sort("Last").Limit(3))
    G.Flows().Has('Metric.ABBytes', Gt(1000)).Sort('Last').Limit(3)
    >>> print(G.At("-1h").V().As("a").In_().Count())
    G.At('-1h').V().As('a').In().Count()
    """

    def __init__(self, text: str = "G") -> None:
        self._text = text

    def __getattr__(self, step: str) -> Callable[..., Traversal]:
        if step.startswith("_"):
            raise AttributeError(step)
        name = step.rstrip("_")
        return lambda *arguments: Traversal(f"{self._text}.{name}({', '.join(map(_format, arguments))})")

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Traversal {self._text}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Traversal) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def _format(argument: Any) -> str:
    """Returns an argument of a step in query syntax."""
    if isinstance(argument, (Predicate, Traversal)):
        return str(argument)
    if isinstance(argument, bool):
        return "true" if argument else "false"
    if isinstance(argument, int):
        return str(argument)
    if isinstance(argument, str):
        # The language has no escapes.
        if any(quote in argument for quote in _QUOTES):
            raise ValueError(f"a text in a query must not contain quotes or NUL: {argument!r}")
        return f"'{argument}'"
    raise TypeError(f"an argument of a step must be text, a number, or a predicate, not {argument!r}")


G = Traversal()
P = _Predicates()
