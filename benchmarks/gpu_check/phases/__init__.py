"""Phases of the check: each module has a function `run(report)` that measures and reports figures."""
