"""The embedded service: one command with an API process and a worker process, on SQLite, without Redis."""
