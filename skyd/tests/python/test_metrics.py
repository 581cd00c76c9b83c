"""Tests of `/metrics` with Prometheus's own parser."""

import json
import urllib.request

import pytest

parser = pytest.importorskip("prometheus_client.parser")


def scrape(daemon):
    with urllib.request.urlopen(f"http://{daemon.endpoint}/metrics", timeout=10) as reply:
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = reply.read().decode()
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def value(families, name, **labels):
    for sample in families[name].samples:
        if sample.labels == labels:
            return sample.value
    raise AssertionError(f"{name} {labels}: {families[name].samples}")


def test_the_page_is_valid_for_prometheus(daemon):
    families = scrape(daemon)
    assert all(family.type in ("gauge", "counter") for family in families.values())
    assert all(family.documentation for family in families.values())
    assert all(family.samples for name, family in families.items()
               if not name.startswith(("skyd_probe_", "skyd_interface_"))), "an analyzer has no probes"
    assert value(families, "skyd_graph_nodes") == 0
    assert value(families, "process_resident_memory_bytes") > 0


def test_captures_and_their_packets_are_counted(lab):
    daemon = lab.daemon
    tid = lab.tid()
    assert value(scrape(daemon), "skyd_probe_running", probe="netlink") == 1
    status, text = daemon.request("POST", "/api/capture", {"GremlinQuery": f"G.V().Has('TID', '{tid}')"})
    assert status == 201, text
    daemon.wait(lambda: value(scrape(daemon), "skyd_captures", state="active") == 1, "the capture")
    lab.ping(5)
    seen = daemon.wait(
        lambda: [n for n in [value(scrape(daemon), "skyd_capture_packets")] if n >= 10],
        "the packets")[0]
    families = scrape(daemon)
    assert value(families, "skyd_flow_table_begun") >= 1
    assert value(families, "skyd_capture_packets_dropped", reason="ring") == 0
    uuid = json.loads(text)["UUID"]
    daemon.request("DELETE", f"/api/capture/{uuid}")
    daemon.wait(lambda: value(scrape(daemon), "skyd_captures", state="active") == 0, "the capture to end")
    families = scrape(daemon)
    assert value(families, "skyd_capture_packets") >= seen, "the counter does not decrease when the capture ends"
    assert value(families, "skyd_flow_table_flows") == 0
