"""The client, once; `_sync` is generated from `_async` by `make client`."""
