"""Frozen records, changed at the rate of ticks."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace as replace  # so that mypy checks the names and types of the fields
else:
    # `dataclasses.replace` reads and sets every field by name, one by one: 10 us for the state of a show, and
    # half of what the core cost (measured). A record without slots keeps its fields in a dictionary, and a
    # dictionary is copied in one go: 1 us. (To update the new record's own takes twice as long: it grows.)
    def replace(record: Any, /, **changes: Any) -> Any:
        """Return the record with some fields changed."""
        fields = getattr(record, "__dict__", None)
        if fields is None:
            return dataclasses.replace(record, **changes)
        values = fields | changes
        if len(values) != len(fields):
            raise TypeError(f"{type(record).__name__} has no {', '.join(changes.keys() - fields.keys())}")
        new = object.__new__(type(record))
        object.__setattr__(new, "__dict__", values)
        return new
