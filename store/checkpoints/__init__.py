"""Checkpoint rows, aliases and retention."""
