"""Operator commands of the service: `uniapl admin …`."""
