"""Fixtures of the client tests: a running daemon, and two network namespaces joined by a veth pair."""

import contextlib
import os
import shutil
import subprocess
import uuid

import pytest

from daemon import Daemon


@pytest.fixture
def daemon(tmp_path):
    """An analyzer with an empty graph."""
    daemon = Daemon(tmp_path, "analyzer")
    yield daemon
    daemon.stop()


class Lab:
    """Two namespaces, `left` (192.0.2.1) and `right` (192.0.2.2), and a daemon that shows them."""

    def __init__(self, daemon, left, right):
        self.daemon, self.left, self.right = daemon, left, right

    def tid(self):
        found = self.daemon.wait(
            lambda: self.daemon.query(f"G.V().Has('Name', '{self.left}').Out('Name', 'eth0').Values('TID')"),
            "the TID of eth0")
        return found[0]

    def ping(self, count):
        done = subprocess.run(
            [*inside(self.left).split(), "ping", "-q", "-c", str(count), "-i", "0.05", "192.0.2.2"],
            capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def inside(namespace):
    """Returns the command prefix for a namespace. `ip netns exec` also mounts, which fails in a chroot."""
    return f"nsenter --net=/run/netns/{namespace}"


def sh(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.fixture
def lab(tmp_path):
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("ping"):
        pytest.skip("SKIPPED: creating network namespaces requires root, ip, and ping")
    tag = uuid.uuid4().hex[:6]
    left, right = f"sk-l-{tag}", f"sk-r-{tag}"
    with contextlib.ExitStack() as stack:
        for name in (left, right):
            sh(f"ip netns add {name}")
            stack.callback(sh, f"ip netns del {name}")
            off = "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done"
            sh(f"{inside(name)} sh -c '{off}'")
        sh(f"{inside(left)} ip link add eth0 type veth peer name eth0 netns {right}")
        for name, address in ((left, "192.0.2.1/24"), (right, "192.0.2.2/24")):
            sh(f"{inside(name)} ip addr add {address} dev eth0")
            sh(f"{inside(name)} ip link set eth0 up")
        daemon = Daemon(tmp_path, settings=("flow.update=1", "flow.expire=600"))
        stack.callback(daemon.stop)
        yield Lab(daemon, left, right)
