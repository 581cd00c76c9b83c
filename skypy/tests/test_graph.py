"""`Graph`, the builder of queries, and conversions to other libraries."""

import json
import threading

import pytest

import skypy
from skypy import G, P


@pytest.fixture
def graph():
    graph = skypy.Graph(journal=True)
    graph.add_node("br0", {"Name": "br0", "Type": "bridge"}, host="h", origin="agent.h", time=1000)
    graph.add_node("eth0", {"Name": "eth0", "Type": "device", "Speed": {"Max": 10}}, time=2000)
    graph.add_edge("br0", "eth0", {"RelationType": "layer2"}, id="e", time=3000)
    return graph


def test_elements_are_dicts_with_the_keys_of_the_json(graph):
    assert graph.node("br0") == {
        "ID": "br0", "Metadata": {"Name": "br0", "Type": "bridge"}, "Host": "h", "Origin": "agent.h",
        "CreatedAt": 1000, "UpdatedAt": 1000, "DeletedAt": None, "Revision": 1}
    assert graph.edge("e")["Parent"] == "br0"
    assert [node["ID"] for node in graph.nodes()] == ["br0", "eth0"]
    assert (graph.node_count, graph.edge_count, len(graph.edges())) == (2, 1, 1)
    assert repr(graph) == "<skypy.Graph: 2 nodes, 1 edges>"


def test_changes_and_events(graph):
    graph.take_events()
    assert graph.set_node("eth0", {"Name": "eth0"}, time=5000) is True
    assert graph.set_node("eth0", {"Name": "eth0"}, time=6000) is False
    assert graph.set_edge("e", {"RelationType": "ownership"}) is True
    graph.delete_node("br0")
    events = graph.take_events()
    assert [(kind, element["ID"]) for kind, element in events] == [
        ("NodeUpdated", "eth0"), ("EdgeUpdated", "e"), ("EdgeDeleted", "e"), ("NodeDeleted", "br0")]
    assert events[0][1]["Revision"] == 2 and events[0][1]["UpdatedAt"] == 5000
    assert graph.take_events() == [] and graph.edge_count == 0


def test_errors_are_exceptions_of_python(graph):
    with pytest.raises(ValueError, match="conflict"):
        graph.add_node("br0", {})
    with pytest.raises(ValueError, match="ID"):
        graph.add_node("", {})
    with pytest.raises(KeyError):
        graph.add_edge("br0", "missing", {})
    for call in (lambda: graph.node("x"), lambda: graph.edge("x"), lambda: graph.delete_node("x"),
                 lambda: graph.delete_edge("x"), lambda: graph.set_node("x", {}), lambda: graph.set_edge("x", {})):
        with pytest.raises(KeyError):
            call()
    with pytest.raises(TypeError):
        graph.add_node("n", "text")
    with pytest.raises(TypeError):
        graph.add_node("n", {"set": {1}})


def test_queries_of_text_and_of_the_builder(graph):
    assert graph.query("G.V().Has('Type', 'bridge').Out().Values('Name')") == ["eth0"]
    assert graph.query(G.V().Has("Type", "bridge").Out().Values("Name")) == ["eth0"]
    assert graph.query(G.V().Has("Speed.Max", P.Gt(5)).Count()) == 1
    assert graph.query(G.V().Has("Name", P.Within("br0", "eth0")).Count()) == 2
    assert graph.query(G.V().Values("Missing")) is None
    plan, table = graph.explain(G.V().Has("Type", "bridge").Count())
    assert plan["Steps"][0]["Absorbed"] == ["Has('Type', 'bridge')"] and "bridge" in table


def test_errors_of_queries_have_a_position(graph):
    with pytest.raises(skypy.QueryError, match="did you mean") as error:
        graph.query("G.V().Has('é', 1).Hass('Type')")
    assert error.value.position == len("G.V().Has('é', 1).")
    with pytest.raises(skypy.QueryError):
        graph.query("")


def test_a_graph_is_loaded_from_the_results_of_a_server(graph):
    copy = skypy.Graph()
    copy.load(graph.nodes(), graph.edges())
    assert json.dumps([*copy.nodes(), *copy.edges()]) == json.dumps([*graph.nodes(), *graph.edges()])


def test_graphs_render_in_notebooks(graph):
    graph.add_node("x", {"Name": "<script>"})
    html = graph._repr_html_()
    assert html.startswith("<svg") and "br0" in html and "<script>" not in html and "layer2" in html
    assert skypy.Graph()._repr_html_().startswith("<svg")
    large = skypy.Graph()
    for number in range(100):
        large.add_node(f"n{number}", {})
    assert "100 nodes" in large._repr_html_()


def test_conversion_to_networkx(graph):
    pytest.importorskip("networkx")
    converted = graph.to_networkx()
    assert converted.nodes["eth0"]["Speed"] == {"Max": 10}
    assert list(converted.edges(keys=True, data=True)) == [("br0", "eth0", "e", {"RelationType": "layer2"})]


def test_elements_are_arrow_tables(graph):
    pyarrow = pytest.importorskip("pyarrow")
    nodes, edges = pyarrow.table(graph.nodes()), pyarrow.table(graph.edges())
    assert nodes.column_names == [
        "ID", "Name", "Type", "TID", "Host", "Origin", "CreatedAt", "UpdatedAt", "Revision", "Metadata"]
    assert nodes["Type"].to_pylist() == ["bridge", "device"]
    assert nodes["Origin"].to_pylist() == ["agent.h", None]
    assert json.loads(nodes["Metadata"][1].as_py())["Speed"] == {"Max": 10}
    assert nodes["CreatedAt"].type == pyarrow.timestamp("ms", "UTC")
    assert (edges["Parent"].to_pylist(), edges["RelationType"].to_pylist()) == (["br0"], ["layer2"])


def test_several_threads_share_a_graph():
    graph = skypy.Graph()

    def work(thread):
        for number in range(200):
            graph.add_node(f"{thread}-{number}", {"Name": "x"})
            graph.query("G.V().Has('Name', 'x').Count()")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert graph.query(G.V().Count()) == 800
