"""Alerts."""

from skydive._resource import ALWAYS, NOT_EMPTY, REQUIRED, Resource


class Alert(Resource):
    """An expression that the server evaluates, and an action that it starts when the result changes."""

    create_time = None
    """Time of creation, as RFC 3339 text."""

    _fields = (
        ("uuid", "UUID", REQUIRED),
        ("action", "Action", REQUIRED),
        ("expression", "Expression", REQUIRED),
        ("trigger", "Trigger", ALWAYS),
        ("name", "Name", NOT_EMPTY),
        ("description", "Description", NOT_EMPTY),
    )

    def __init__(self, uuid, action, expression, trigger="graph", name="", description=""):
        self.uuid = uuid
        self.action = action
        self.expression = expression
        self.trigger = trigger
        self.name = name
        self.description = description

    @classmethod
    def from_object(cls, obj):
        """Creates an alert from parsed JSON. Unknown keys are ignored."""
        # The server omits an empty action and an empty trigger.
        alert = super().from_object({"Action": "", "Trigger": "", **obj})
        alert.create_time = obj.get("CreateTime")
        return alert
