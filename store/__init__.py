"""Data layer shared by API and workers: settings, tables, state machine, artifacts, broker."""
