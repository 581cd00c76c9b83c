"""Runs the recorded cases of rules, alerts, workflows, agents, and replication, each in namespaces of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import binary

FOLDER = Path(__file__).parent / "cases"
FILES = ("automation-cases.json", "fleet-cases.json")


def cases():
    return [(file, case["name"]) for file in FILES for case in json.loads((FOLDER / file).read_text())]


@pytest.mark.parametrize("file, name", cases())
def test_case(file, name):
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("SKIPPED: creating namespaces requires root, ip, and unshare")
    command = [sys.executable, str(FOLDER / "run_automation_cases.py"), "--skyd", binary(), "--cases", str(FOLDER / file),
               "--only", f"^{name}$"]
    # The runner addresses the daemon by a name that is not its own.
    environment = {**os.environ, "SKYD_HTTP_HOSTS": "*"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
