"""Damaged stores and full disks: the daemon starts, says what it lost, and never loses what it acknowledged."""

import json
import os
import random
import shutil
import subprocess

import pytest
from attacker import LONG, Daemon, node

# Damages of each kind of each file: 2 files * (6 kinds * 14 + 1) = 170 starts.
TRIALS = int(os.environ.get("ATTACK_STORES", "14"))


def flip(data, chance):
    for _ in range(chance.randint(1, 64)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def truncate(data, chance):
    del data[chance.randrange(len(data)):]


def zero(data, chance):
    start = chance.randrange(len(data))
    data[start:start + chance.randint(1, 65536)] = bytes(len(data[start:start + 65536]))


def junk(data, chance):
    data[:] = chance.randbytes(len(data))


def empty(data, _):
    data.clear()


def head(data, chance):
    data[:512] = chance.randbytes(512)


def append(data, chance):
    data += chance.randbytes(chance.randint(1, 100_000))


@LONG
def test_damaged_stores_are_set_aside(tmp_path):
    original = tmp_path / "original"
    original.mkdir()
    with Daemon(original) as daemon:
        for n in range(50):
            assert daemon.request("POST", "/api/node", node(f"n{n}"))[0] == 201
            assert daemon.request("POST", "/api/capture", {"GremlinQuery": f"G.V().Has('Name', 'x{n}')"})[0] == 201
    files = sorted(path.name for path in (original / "store").iterdir() if path.suffix == ".redb")
    assert files == ["graph.redb", "meta.redb"]
    chance, starts, aside = random.Random(2), 0, 0
    for name in files:
        for damage in (flip, truncate, zero, junk, empty, head, append):
            for trial in range(TRIALS if damage is not empty else 1):
                folder = tmp_path / "trial"
                shutil.copytree(original, folder)
                data = bytearray((folder / "store" / name).read_bytes())
                damage(data, chance)
                (folder / "store" / name).write_bytes(data)
                with Daemon(folder) as daemon:
                    what = f"{name} {damage.__name__} {trial}"
                    nodes = json.loads(daemon.query("G.V().Count()")[1])
                    captures = len(json.loads(daemon.request("GET", "/api/capture")[2]))
                    assert daemon.request("POST", "/api/node", node("new"))[0] == 201, what
                    assert daemon.request("POST", "/api/capture", {"GremlinQuery": "G.V('new')"})[0] == 201, what
                    log = daemon.log.read_text()
                damaged = list((folder / "store").glob("*.damaged-*"))
                assert "panicked" not in log, (what, log)
                # What is not set aside is whole.
                whole = (nodes if name == "graph.redb" else captures) == 50
                assert whole or (damaged and " ERROR " in log), (what, nodes, captures, log)
                starts, aside = starts + 1, aside + bool(damaged)
                shutil.rmtree(folder)
    print(f"damaged stores: {starts} starts, {aside} files set aside, no panic")


@LONG
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: mounting a small file system requires root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=True)
    try:
        acknowledged, refused = 0, 0
        with Daemon(disk) as daemon:
            while refused < 20:
                status, _, text = daemon.request("POST", "/api/node", node(f"n{acknowledged}", Pad="x" * 4000))
                if status == 201:
                    acknowledged += 1
                else:
                    assert status == 500 and b"space" in text, (status, text)
                    refused += 1
            assert json.loads(daemon.query("G.V().Count()")[1]) == acknowledged
            daemon.process.kill()
            daemon.process.wait()
        # Not a byte is free: the daemon starts all the same, and its log on this disk is cut.
        with Daemon(disk) as daemon:
            assert json.loads(daemon.query("G.V().Count()")[1]) == acknowledged
            subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
            daemon.until("creation to work again", lambda: daemon.request("POST", "/api/node", node("new"))[0] == 201)
            assert json.loads(daemon.query("G.V().Count()")[1]) == acknowledged + 1
        print(f"full disk: {acknowledged} acknowledged, {refused} refused, all found after kill -9")
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
