"""What torch's compiler must leave alone in the graphs of a student."""

from __future__ import annotations

import torch._functorch.config


def keep_buffers() -> None:
    """Allow several backward passes of a compiled forward: a measured step makes one per term (`training.learner`).

    Otherwise the first of them reuses the memory of what the forward has kept ("donated buffers"), and torch refuses
    `retain_graph`. This holds for what the calling thread compiles from now on, so it is called before every compile.
    """
    torch._functorch.config.donated_buffer = False
