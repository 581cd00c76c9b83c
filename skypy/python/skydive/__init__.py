"""Client of the REST and WebSocket interfaces, with the modules and names of `skydive-client`.

Importing `skypy` warns if `skydive-client` itself is installed.
"""

import skypy as _skypy  # noqa: F401
