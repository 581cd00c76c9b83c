"""Tests of `skyd client shell` on a terminal: completion, history, and results."""

import os
import pty
import select
import subprocess
import time

import pytest

from daemon import binary


class Terminal:
    """A shell on a pseudo terminal."""

    def __init__(self, daemon, history):
        self.master, slave = pty.openpty()
        command = [binary(), "client", "--analyzer", daemon.endpoint, "shell", "--history", str(history)]
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)
        self.expect("shell> ")

    def send(self, text):
        os.write(self.master, text.encode())

    def expect(self, text, seconds=20):
        """Reads until a text is shown, and returns what was shown."""
        shown, end = "", time.monotonic() + seconds
        while text not in shown:
            assert time.monotonic() < end, f"waited for {text!r}: {shown!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    shown += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    break
        assert text in shown, shown
        return shown

    def close(self):
        self.send("\x04")
        assert self.process.wait(20) == 0
        os.close(self.master)


@pytest.fixture
def history(tmp_path):
    return tmp_path / "history"


def test_steps_keys_and_names_are_completed(daemon, history):
    daemon.request("POST", "/api/node", {"ID": "n1", "Metadata": {"Name": "eth0", "Type": "t", "Zone": "z"}})
    terminal = Terminal(daemon, history)
    terminal.send("G.V().Has('Zo\t")
    terminal.expect("Zone")
    terminal.send("', 'z').Val\t")
    terminal.expect("Values(")
    terminal.send("'Name')\r")
    terminal.expect("eth0")
    terminal.send("client.capt\t")
    terminal.expect("client.captures")
    terminal.send("\x03")
    terminal.expect("(^D to quit)")
    terminal.close()


def test_lines_are_in_the_history_of_the_next_shell(daemon, history):
    terminal = Terminal(daemon, history)
    terminal.send("6 * 7\r")
    terminal.expect("42")
    terminal.close()
    assert "6 * 7" in history.read_text()
    terminal = Terminal(daemon, history)
    terminal.send("\x1b[A\r")
    terminal.expect("42")
    terminal.close()


def test_results_on_a_terminal_are_tables(daemon, history):
    name = "eth\x1b[2J0"
    daemon.request("POST", "/api/node", {"ID": "n1", "Metadata": {"Name": name, "Type": "t"}})
    terminal = Terminal(daemon, history)
    terminal.send("G.V()\r")
    assert "ID  NAME" in terminal.expect("eth\\u{1b}[2J0")
    terminal.send("function f() {\r")
    terminal.send("return 'ab' + 'cd' }\r")
    terminal.send("f()\r")
    terminal.expect("abcd")
    terminal.close()
