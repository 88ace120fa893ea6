"""The async client; `make client` generates the sync client in `_sync` from it."""
