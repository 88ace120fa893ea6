"""The embedded service: API and worker as two processes of one command, SQLite, no Redis."""
