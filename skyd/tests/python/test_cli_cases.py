"""Runs the recorded cases of the command line with their runner, by area."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import binary

FOLDER = Path(__file__).parent / "cases"
CASES = json.loads((FOLDER / "cli-cases.json").read_text())


@pytest.mark.parametrize("area", sorted({case["area"] for case in CASES}))
def test_area(area, tmp_path):
    file = tmp_path / "cases.json"
    file.write_text(json.dumps([case for case in CASES if case["area"] == area]))
    command = [sys.executable, FOLDER / "run_cli_cases.py", "--prog", binary(), "--cases", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
