"""One check of the GPU code on one card, below ten minutes (`make gpu-check`): phases, figures, expected values."""
