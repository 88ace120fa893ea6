"""Rollout backends: transformers in the trainer's process, or a vLLM server."""
