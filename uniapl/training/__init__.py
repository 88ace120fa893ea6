"""The training loop: setup, rollouts, updates, evaluation, checkpoints."""
