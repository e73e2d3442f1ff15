"""A module that cannot be imported, named where a setting takes a dotted path."""

raise RuntimeError
