"""Launcher of a module that exits with its parent: `python -m embedded.child PARENT_PID MODULE ARG…`."""

from __future__ import annotations

import runpy
import sys

from uniapl.run.signals import die_with_parent

die_with_parent(int(sys.argv[1]))
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
