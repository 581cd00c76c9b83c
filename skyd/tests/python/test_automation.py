"""Runs the recorded cases of rules, alerts, and workflows, each in namespaces of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import binary

FOLDER = Path(__file__).parent / "cases"
CASES = FOLDER / "automation-cases.json"
# Cases with agents and replicas belong to their own tests.
AREAS = ("javascript", "built-in", "alert", "rule")


def names():
    cases = json.loads(CASES.read_text())
    return [case["name"] for case in cases if case["area"] in AREAS and "hosts" not in case]


@pytest.mark.parametrize("name", names())
def test_case(name):
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("SKIPPED: creating namespaces requires root, ip, and unshare")
    command = [sys.executable, str(FOLDER / "run_automation_cases.py"), "--skyd", binary(), "--cases", str(CASES),
               "--only", f"^{name}$"]
    # The runner addresses the daemon by a name that is not its own.
    environment = {**os.environ, "SKYD_HTTP_HOSTS": "*"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
