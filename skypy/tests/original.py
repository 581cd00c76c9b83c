"""The original `skydive-client`, installed in a separate virtual environment.

`scripts/python` names its interpreter in SKYDIVE_CLIENT_PYTHON; tests that compare are skipped without.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PYTHON = os.environ.get("SKYDIVE_CLIENT_PYTHON", "")
needs_original = pytest.mark.skipif(
    not PYTHON, reason="SKIPPED: SKYDIVE_CLIENT_PYTHON does not name a Python with skydive-client")


def run_original(script, *arguments):
    """Runs a script of this folder with the original client; returns its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return _run(PYTHON, script, arguments, environment)


def run_ours(script, *arguments):
    """Runs a script of this folder with our client; returns its output."""
    return _run(sys.executable, script, arguments, os.environ)


def _run(python, script, arguments, environment):
    command = [python, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
