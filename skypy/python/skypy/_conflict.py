"""Detection of the package `skydive-client`, which contains the same import package `skydive`."""

import os
import sys
import warnings

ADVICE = (
    "the package skydive-client is installed and has the same files as the module `skydive` of "
    "skypy-net, so the package that was installed last wins. To use skypy-net, run: "
    "pip uninstall -y skydive-client skypy-net && pip install skypy-net"
)


def find(paths):
    """Returns the folder in which `skydive-client` is installed, or `None`."""
    for folder in paths:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.lower().startswith(("skydive_client-", "skydive-client-")) and name.endswith(("-info", ".egg")):
                return folder
    return None


def warn():
    """Warns if `skydive-client` is installed."""
    folder = find(sys.path)
    if folder is not None:
        warnings.warn(f"{ADVICE} (found in {folder})", RuntimeWarning, stacklevel=3)
