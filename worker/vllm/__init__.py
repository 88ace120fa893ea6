"""vLLM servers that a worker starts beside its trainers."""
