"""`python -m worker.vllm.reaper PARENT_PID COMMAND…`: run a command whose whole process group ends with its worker.

A server starts processes of its own, which the kernel's death signal does not reach. This one leads the process group,
is told when the worker dies, and then kills the group.
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
