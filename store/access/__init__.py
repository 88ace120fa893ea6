"""Access: API keys, encrypted secrets and allowed URLs."""
