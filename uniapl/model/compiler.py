"""Configuration of torch's compiler for the graphs of a student."""

from __future__ import annotations

import torch._functorch.config


def keep_buffers() -> None:
    """Allow several backward passes of a compiled forward: a measured step makes one per term (`training.learner`).

    By default the first backward reuses the memory of saved activations ("donated buffers"), and torch refuses
    `retain_graph`. The setting applies to later compilations by the calling thread, so call this before each of them.
    """
    torch._functorch.config.donated_buffer = False
