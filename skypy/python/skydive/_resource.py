"""Conversion between objects of the REST interface and their JSON."""

import enum


class Rule(enum.Enum):
    """Conditions under which a field is read and written."""

    REQUIRED = 1
    """Always written; `from_object` raises `KeyError` if the key is missing."""
    ALWAYS = 2
    """Always written; `None` if the key is missing."""
    NOT_EMPTY = 3
    """Written if the value is true; `None` if the key is missing."""


REQUIRED, ALWAYS, NOT_EMPTY = Rule


class Resource:
    """Base class of captures, alerts, rules, and injections.

    A subclass lists its fields as (attribute, JSON key, rule). The attribute has the name of the
    constructor's parameter; the required fields are the first parameters, in the same order.
    """

    _fields = ()
    # Fields that are not parameters of the constructor, because subclasses may override it.
    _more_fields = ()

    def repr_json(self):
        """Returns the object as a dict that the `json` module can write."""
        return {
            key: value
            for attribute, key, rule in self._fields + self._more_fields
            if (value := getattr(self, attribute)) or rule is not NOT_EMPTY
        }

    @classmethod
    def from_object(cls, obj):
        """Creates an object from parsed JSON. Unknown keys are ignored."""
        required = [obj[key] for _, key, rule in cls._fields if rule is REQUIRED]
        others = {name: obj.get(key) for name, key, rule in cls._fields if rule is not REQUIRED}
        created = cls(*required, **others)
        for attribute, key, _ in cls._more_fields:
            setattr(created, attribute, obj.get(key))
        return created
