#!/usr/bin/env python3
"""Compares live recording of skyd with tcpdump and dumpcap under the same load.

    sudo benches/peers/spp_capture.py target/release/skyd [--rate PPS] [--seconds S] [--size BYTES] [--only NAME]

The script creates a network namespace with a veth pair, sends packets into one end at a limited
rate, and runs one recorder after the other at the other end. For each recorder it prints the number
of packets sent, found in the files, and reported lost; the CPU time per packet of all its processes
(user and system time, without startup; for a pipe, all processes of the pipe); and the ratio of that
time to skyd's. The `slow` row writes to a FUSE file system that sleeps in every write: each packet
that is not in a file must be reported as lost. All rows together take less than two minutes.
Requires root, iproute2, lz4, and tcpdump; rows that need dumpcap or python3-fusepy are skipped if
these are missing.
"""
import argparse
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

FLOWS = 100


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def own_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:
        sys.exit("cannot create a network namespace: run as root")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    for end in ("left", "right"):
        with open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % end, "w") as f:
            f.write("1")
        run("ip", "link", "set", end, "arp", "off", "up")
    time.sleep(1)


def frames(size):
    """Returns one frame per flow; half of its payload is text and half is random, like real traffic."""
    out = []
    for flow in range(FLOWS):
        payload = size - 42
        text = (b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n" * 40)[: payload // 2]
        body = text + os.urandom(payload - len(text))
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + payload, 0, 0, 64, 17, 0,
                         bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
        udp = struct.pack("!HHHH", 1000 + flow, 2000, 8 + payload, 0)
        out.append(b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0" + ip + udp + body)
    return out


def send(rate, seconds, size):
    """Sends packets at a rate, in one burst per millisecond; returns the number of packets sent."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("left", 0))
    todo = frames(size)
    sent = 0
    began = time.monotonic()
    while True:
        now = time.monotonic() - began
        if now >= seconds:
            return sent
        due = int(now * rate) - sent
        for _ in range(due):
            try:
                s.send(todo[sent % FLOWS])
            except OSError:
                break
            sent += 1
        time.sleep(0.001)


def cpu_of(pid):
    """Returns user and system seconds of all threads of a process, including ended threads."""
    # The CPU clock of the process (CPUCLOCK_SCHED in linux/posix-timers.h) is exact, whereas
    # /proc/PID/stat counts ticks.
    return time.clock_gettime((~pid << 3) | 2)


def records(path):
    """Returns the number of packets in a pcap or pcapng file, plain or LZ4-compressed."""
    opened = subprocess.Popen(["lz4", "-dc", path], stdout=subprocess.PIPE) \
        if path.endswith(".lz4") else open(path, "rb")
    stream = opened.stdout if path.endswith(".lz4") else opened
    count = 0
    head = stream.read(4)
    if head == b"\x0a\x0d\x0d\x0a":
        rest = head
        while True:
            kind = rest or stream.read(4)
            rest = b""
            if len(kind) < 4:
                break
            (length,) = struct.unpack("<I", stream.read(4))
            stream.read(length - 8)
            count += kind == b"\x06\0\0\0"
    elif head:
        stream.read(20)
        while True:
            header = stream.read(16)
            if len(header) < 16:
                break
            stream.read(struct.unpack("<IIII", header)[2])
            count += 1
    if path.endswith(".lz4"):
        opened.wait()
    return count


class Skyd:
    def __init__(self, binary, folder, compress, out=None, ring=8 << 20):
        self.folder = out or folder
        self.compress = compress
        pcap = {"client_id": 1, "port": "phy:0", "out_dir": self.folder, "compress": compress,
                "ring_bytes": ring}
        self.process = subprocess.Popen(
            [binary, "analyzer", "--set", "analyzer.listen=127.0.0.1:18082",
             "--set", "spp.listen=127.0.0.1:17777", "--set", "spp.ports={phy: [right]}",
             "--set", "spp.pcaps=" + json.dumps([pcap]),
             "--set", "storage.local.path=" + folder + "/store"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if self.process.poll() is not None:
                sys.exit("skyd has exited; run `%s analyzer` to see why" % binary)
            try:
                self.request("GET", "/v1/pcaps/1")
                break
            except OSError:
                time.sleep(0.05)
        try:
            self.request("PUT", "/v1/pcaps/1/capture", {"action": "start"})
        except OSError as error:
            self.kill()
            sys.exit("cannot start the capture: %s" % error)
        time.sleep(1.5)
        self.before = cpu_of(self.process.pid)

    def request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request("http://127.0.0.1:17777" + path, data, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop(self):
        while True:
            try:
                self.request("PUT", "/v1/pcaps/1/capture", {"action": "stop"})
                break
            except urllib.error.HTTPError as error:
                if b"still writing" not in error.read():
                    raise
        stats = self.request("GET", "/v1/pcaps/1")["stats"]
        seconds = cpu_of(self.process.pid) - self.before
        self.process.terminate()
        self.process.wait()
        files = [os.path.join(self.folder, f) for f in os.listdir(self.folder) if "pcap" in f]
        return seconds, files, stats["drop"]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Piped:
    """A recorder, with a compressor behind it where `pipe` says so."""

    def __init__(self, folder, command, pipe, name):
        self.file = os.path.join(folder, name)
        self.log = open(os.path.join(folder, "log"), "w+")
        self.before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if pipe:
            self.first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log)
            self.second = subprocess.Popen(pipe, stdin=self.first.stdout,
                                           stdout=open(self.file, "wb"), stderr=subprocess.DEVNULL)
            self.first.stdout.close()
        else:
            self.first = subprocess.Popen(command + [self.file], stderr=self.log,
                                          stdout=subprocess.DEVNULL)
            self.second = None
        time.sleep(1.5)
        if self.first.poll() is not None:
            self.kill()
            self.log.seek(0)
            sys.exit("%s has ended: %s" % (command[0], self.log.read()))
        self.start = sum(cpu_of(p.pid) for p in (self.first, self.second) if p)

    def stop(self):
        time.sleep(1.5)
        self.first.send_signal(signal.SIGINT)
        self.first.wait()
        if self.second:
            self.second.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = (after.ru_utime + after.ru_stime) - (self.before.ru_utime + self.before.ru_stime)
        seconds -= self.start
        self.log.seek(0)
        lost = 0
        for line in self.log.read().splitlines():
            if "dropped by kernel" in line:
                lost = int(line.split()[0])
            elif "Packets received/dropped" in line:
                lost = int(re.search(r": \d+/(\d+)", line).group(1))
        return seconds, [self.file], lost

    def kill(self):
        for process in (self.first, self.second):
            if process and process.poll() is None:
                process.kill()
                process.wait()


def fuse_that_sleeps(folder):
    """Mounts a file system whose writes take 20 ms each; returns None if fusepy is missing."""
    program = r'''
import os, sys, time
from fusepy import FUSE, FuseOSError, Operations
class Slow(Operations):
    def __init__(self, root): self.root = root
    def p(self, path): return self.root + path
    def getattr(self, path, fh=None):
        try: s = os.lstat(self.p(path))
        except OSError as e:
            raise FuseOSError(e.errno)
        return {k: getattr(s, k) for k in ("st_mode", "st_size", "st_nlink", "st_uid", "st_gid", "st_mtime")}
    def readdir(self, path, fh): return [".", ".."] + os.listdir(self.p(path))
    def create(self, path, mode, fi=None): return os.open(self.p(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    def open(self, path, flags): return os.open(self.p(path), flags)
    def read(self, path, size, offset, fh): return os.pread(fh, size, offset)
    def write(self, path, data, offset, fh):
        time.sleep(0.02)
        return os.pwrite(fh, data, offset)
    def truncate(self, path, length, fh=None): os.truncate(self.p(path), length)
    def release(self, path, fh): return os.close(fh)
    def rename(self, old, new): return os.rename(self.p(old), self.p(new))
    def unlink(self, path): return os.unlink(self.p(path))
FUSE(Slow(sys.argv[1]), sys.argv[2], foreground=True, big_writes=True)
'''
    python = next((p for p in (sys.executable, '/usr/bin/python3') if subprocess.run(
        [p, '-c', 'import fusepy'], capture_output=True).returncode == 0), None)
    if python is None:
        return None
    under, mount = os.path.join(folder, "under"), os.path.join(folder, "slow")
    os.mkdir(under)
    os.mkdir(mount)
    process = subprocess.Popen([python, "-c", program, under, mount],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        if os.path.ismount(mount):
            return process, mount, under
        time.sleep(0.05)
    process.kill()
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("skyd")
    parser.add_argument("--rate", type=int, default=50000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--size", type=int, default=600)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    own_namespace()
    tcpdump = ["tcpdump", "-i", "right", "-n", "-Q", "in", "-s", "65535", "-B", "8192", "-w"]
    dumpcap = ["dumpcap", "-i", "right", "-q", "-s", "65535", "-B", "8", "-w"]
    lz4 = ["lz4", "-1", "-c"]
    rows = [
        ("skyd", lambda d: Skyd(options.skyd, d, True)),
        ("tcpdump | lz4 -1", lambda d: Piped(d, tcpdump + ["-"], lz4, "x.lz4")),
        ("dumpcap | lz4 -1", lambda d: Piped(d, dumpcap + ["-"], lz4, "x.lz4")),
        ("dumpcap --compress lz4", lambda d: Piped(d, dumpcap[:-1] + ["--compress", "lz4", "-w"],
                                                   None, "x.lz4")),
        ("skyd, uncompressed", lambda d: Skyd(options.skyd, d, False)),
        ("tcpdump -w", lambda d: Piped(d, tcpdump, None, "x.pcap")),
        ("dumpcap -w", lambda d: Piped(d, dumpcap, None, "x.pcapng")),
        ("slow: skyd", lambda d: None),
    ]
    print("%-24s %9s %9s %9s %10s %9s" % (
        "recorder", "sent", "in files", "lost", "CPU ns/pkt", "/ skyd's"))
    base = None
    for name, start in rows:
        if options.only not in name:
            continue
        if name.startswith("dumpcap") and not shutil.which("dumpcap"):
            print("%-24s (no dumpcap)" % name)
            continue
        if "--compress" in name and "--compress" not in subprocess.run(
                ["dumpcap", "--help"], capture_output=True, text=True).stdout:
            print("%-24s (this dumpcap has no --compress)" % name)
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            slow = None
            if name.startswith("slow"):
                slow = fuse_that_sleeps(folder)
                if slow is None:
                    print("%-24s (no fusepy)" % name)
                    continue
                recorder = Skyd(options.skyd, folder, True, slow[1], 1 << 20)
            else:
                recorder = start(folder)
            try:
                sent = send(options.rate, options.seconds, options.size)
                seconds, files, lost = recorder.stop()
            finally:
                recorder.kill()
            if slow:
                files = [os.path.join(slow[2], f) for f in os.listdir(slow[2])]
            found = sum(records(f) for f in files)
            each = seconds * 1e9 / max(sent, 1)
            if name.startswith("skyd"):
                base = each
            ratio = "%9.2f" % (each / base) if base and not slow else "%9s" % "-"
            print("%-24s %9d %9d %9d %10.0f %s%s" % (
                name, sent, found, lost, each, ratio,
                "" if found + lost == sent else "   %d unaccounted for" % (sent - found - lost)))
            sys.stdout.flush()
            if slow:
                subprocess.run(["umount", "-l", slow[1]])
                slow[0].kill()


main()
