"""The builder of queries."""

import pytest

from skypy import G, P


def test_the_builder_writes_queries():
    assert str(G.V("id").In_().Has("A", True, "B", -5).Dedup()) == "G.V('id').In().Has('A', true, 'B', -5).Dedup()"
    assert str(G.V().Has("MTU", P.Gt(1500), "Name", P.Within("a", "b"))) == (
        "G.V().Has('MTU', Gt(1500), 'Name', Within('a', 'b'))")
    assert repr(P.Regex("a.*")) == "P.Regex('a.*')"
    assert G.V() == G.V() and G.V() != G.E() and hash(G.V()) == hash(G.V())


def test_arguments_that_the_language_cannot_express_are_refused():
    with pytest.raises(ValueError, match="quotes"):
        G.V().Has("Name", "it's")
    with pytest.raises(TypeError):
        G.V().Has("Name", 1.5)
    with pytest.raises(AttributeError):
        G._hidden
