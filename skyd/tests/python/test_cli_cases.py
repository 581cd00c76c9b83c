"""Runs the cases of the command line (`skyd/tests/cases/cli-cases.json`) with their runner."""

import json
import subprocess
import sys

import pytest

from daemon import ROOT, binary

CASES = ROOT / "skyd" / "tests" / "cases"
FILE = CASES / "cli-cases.json"
AREAS = sorted({case["area"] for case in json.loads(FILE.read_text())})


@pytest.mark.parametrize("area", AREAS)
def test_cases(area, tmp_path):
    """All cases of an area pass: each names the command, its output, and its exit status."""
    chosen = [case for case in json.loads(FILE.read_text()) if case["area"] == area]
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(chosen))
    done = subprocess.run(
        [sys.executable, CASES / "run_cli_cases.py", "--prog", binary(), "--cases", file],
        capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
