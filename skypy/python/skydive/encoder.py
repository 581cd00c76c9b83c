"""JSON of nodes, edges, and resources."""

import json


class JSONEncoder(json.JSONEncoder):
    """Encoder that writes every object with a `repr_json` method.

    >>> from skydive.graph import Node
    >>> json.dumps([Node("n1", "host")], cls=JSONEncoder)
    '[{"ID": "n1", "Host": "host", "Metadata": null}]'
    """

    def default(self, obj):
        """Returns the JSON value of an object; raises `TypeError` if it has none."""
        if hasattr(obj, "repr_json"):
            return obj.repr_json()
        return super().default(obj)
