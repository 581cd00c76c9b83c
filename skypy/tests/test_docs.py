"""The examples in docstrings run."""

import doctest
import inspect
import json

import pytest

import skydive.encoder
import skypy
import skypy._traversal
import skypy.client

OBJECTS = [skypy.Graph, skypy.FlowTable, skypy.Traversal, skydive.encoder.JSONEncoder]


@pytest.mark.parametrize("documented", OBJECTS)
def test_examples_run(documented):
    example = doctest.DocTestParser().get_doctest(
        inspect.getdoc(documented), {"json": json, documented.__name__: documented}, documented.__name__, None, None)
    assert example.examples
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("module", [skypy, skypy.client])
def test_every_public_name_is_documented(module):
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), name
        if inspect.isclass(value):
            methods = [attribute for attribute in vars(value) if not attribute.startswith("_")]
            assert [m for m in methods if not inspect.getdoc(getattr(value, m))] == [], name
