"""Hostile input without a connection: mutated capture files and datagrams of agents."""

import json
import os
import random
import socket
import subprocess
from pathlib import Path

from attacker import LONG, Daemon

ROOT = Path(__file__).resolve().parents[3]
FILES = int(os.environ.get("ATTACK_FILES", "2000"))
DATAGRAMS = int(os.environ.get("ATTACK_DATAGRAMS", "50000"))


def seeds():
    folders = [ROOT / "skylib" / "tests" / "data", ROOT / "fuzz" / "corpus", os.environ.get("SHARED_PCAP")]
    paths = [path for folder in folders if folder for path in Path(folder).rglob("*")]
    kinds = (".pcap", ".pcapng", ".gz", ".lz4", ".zst")
    in_corpus = {"capture_file", "pcapng", "compressed"}
    wanted = lambda path: path.suffix in kinds or path.parent.name in in_corpus
    return sorted(path for path in paths if path.is_file() and wanted(path) and path.stat().st_size < 1 << 20)


def mutate(data, chance):
    """Damages a file: usually a few bits behind the file header, sometimes anything anywhere."""
    data = bytearray(data)
    if chance.random() < 0.7 and len(data) > 64:
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(40, len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            data[at:at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x01"])
        elif kind == 1:
            del data[at:at + chance.randint(1, 64)]
        elif kind == 2:
            data[at:at] = data[at:at + chance.randint(1, 256)]
        else:
            data[at:at] = chance.randbytes(chance.randint(1, 16))
    return bytes(data[:chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)


@LONG
def test_mutated_capture_files_never_crash_the_reader(tmp_path):
    from daemon import binary
    chance, found = random.Random(3), seeds()
    path, peak, failed = tmp_path / "mutated", 0, 0
    for n in range(FILES):
        seed = found[n % len(found)]
        path.write_bytes(mutate(seed.read_bytes(), chance))
        done = subprocess.run([binary(), "flows", path, "--threads", "1", "--max-bytes", "20000000"],
                              capture_output=True, timeout=120, check=False)
        last = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        assert done.returncode in (0, 1), (seed, n, done.returncode, last)
        failed += done.returncode
        if "peak_rss_bytes" in last:
            peak = max(peak, int(last.split("peak_rss_bytes")[1].split()[0]))
    print(f"mutated captures: {FILES} files of {len(found)} seeds, {failed} refused, no crash, peak {peak >> 20} MiB")
    assert peak < 400 << 20


@LONG
def test_hostile_datagrams_are_counted(tmp_path):
    chance = random.Random(4)
    # Field 1 of a message is a flow, whose field 1 is its UUID.
    valid = b"\x0a\x06\x0a\x04abcd" * 3
    with Daemon(tmp_path, "flow.protocol=udp") as daemon:
        before = daemon.measure()["rss"]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sent = 0
        for _ in range(DATAGRAMS):
            kind = chance.randrange(4)
            if kind == 0:
                data = chance.randbytes(chance.randrange(1, 1500))
            elif kind == 1:
                data = mutate(valid, chance)
            elif kind == 2:
                data = b"\x0a\xff\xff\xff\xff\x0f" + chance.randbytes(20)
            else:
                data = b"\x0a\x02\x0a\x00" * chance.randrange(1, 8000)
            try:
                udp.sendto(data, ("127.0.0.1", daemon.port))
                sent += 1
            except OSError:
                pass
        status = lambda: json.loads(daemon.request("GET", "/api/status")[2])
        daemon.until("the daemon to take the datagrams", lambda: status() == status())
        after = daemon.measure()
        metrics = daemon.request("GET", "/metrics")[2].decode()
        shown = [line for line in metrics.splitlines() if "agent_flow" in line and not line.startswith("#")]
        print(f"datagrams: {sent} sent, {shown}, RSS {before} -> {after['rss']} MiB")
        # Live flows of agents have their own limit of 64 MiB, the queue one of 256 MiB.
        assert after["rss"] < before + 400
        assert daemon.query("G.V().Count()")[0] == 200
