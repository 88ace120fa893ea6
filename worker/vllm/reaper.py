"""`python -m worker.vllm.reaper PARENT_PID COMMAND…`: run a command, and kill its process group when the worker dies.

A server starts further processes, which the kernel's death signal does not reach. This process leads the group,
receives the signal, and kills the group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from uniapl.run.signals import die_with_parent


def main(parent_pid: int, command: list[str]) -> int:
    """Run the command; returns its exit status, as a shell would."""
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    die_with_parent(parent_pid, by=signal.SIGTERM)
    status = subprocess.Popen(command).wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
