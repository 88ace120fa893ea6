"""Clients of model servers: endpoints, transport, protocol."""
