"""The API on a real socket."""

from __future__ import annotations

import threading
import time

import uvicorn
from sqlalchemy import Engine

from api.main import create_app
from store.access import api_keys, keyring
from store.db import make_engine, unit_of_work
from store.settings import Settings


class Server:
    """Served by a thread while the block runs."""

    def __init__(self, settings: Settings) -> None:
        self.engine: Engine = make_engine(settings.database)
        self.app = create_app(settings)
        self.server = uvicorn.Server(uvicorn.Config(self.app, port=0, log_level="warning", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        with unit_of_work(self.engine) as session:
            _, key = api_keys.create(session, keyring.load(settings), tenant="default", name="test")
        self.key = key
        self.headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}

    def __enter__(self) -> Server:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.engine.dispose()
