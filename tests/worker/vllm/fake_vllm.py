"""A stand-in for vLLM's server that starts at once and misbehaves as a file tells it, for faults by the dozen.

    python -m tests.worker.vllm.fake_vllm FOLDER serve MODEL --port N --served-model-name NAME …

`FOLDER/mode` holds what it does from now on (`ok` when there is none); `FOLDER/starts` how each start goes, a word a
line, by its number; it writes a line for each start and request into `FOLDER/seen`. Like vLLM it starts a process of
its own, in its own group, that does not end with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DIMENSION = 8


def logit(text: str) -> float:
    """Between -10 and 10, and a function of the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32 * 20 - 10


def embedding(row: list[int]) -> list[float]:
    """Not of unit length, and a function of the tokens alone."""
    digest = hashlib.sha256(json.dumps(row).encode()).digest()
    return [(byte - 128) / 64 for byte in digest[:DIMENSION]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/health":  # always 200, as vLLM's is even while its engine hangs
            return self.answer(b"")
        if self.path == "/metrics":
            return self.answer(self.server.metrics().encode(), kind="text/plain; version=0.0.4; charset=utf-8")
        if self.path == "/weight_info":
            return self.answer({"weight_version": self.server.version})
        name = "somebody-else" if self.server.mode() == "model" else self.server.name
        self.answer({"object": "list", "data": [{"id": name, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"null")
        mode = self.server.mode()
        self.server.note(f"{mode} {self.path} {json.dumps(body)}")
        if self.headers.get("authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self.answer({"error": "Unauthorized"}, 401)
        if body and body.get("priority", 0) != 0 and self.server.policy != "priority":
            return self.answer({"error": "the served model does not use priority scheduling"}, 400)
        match mode:
            case "hang" | "busy":
                time.sleep(600)
            case "stall" if self.path == "/collective_rpc":
                time.sleep(600)
            case "exit0":
                os._exit(0)
            case "status500":
                return self.answer({"error": "engine"}, 500)
            case "refuse":
                return self.answer({"error": "too long"}, 400)
            case "html":
                return self.answer(b"<html><body>200 OK</body></html>", kind="text/html")
            case "truncated":
                return self.answer(json.dumps(self.server.scored(self.path, body)).encode()[:-9])
            case "count":
                found = self.server.scored(self.path, body)
                found["data"].append(found["data"][-1] | {"index": len(found["data"])})
                return self.answer(found)
            case "nan":
                return self.answer(json.dumps(self.server.scored(self.path, body, worth=math.nan)).encode())
            case "null":
                return self.answer(self.server.scored(self.path, body, worth=None))
            case "huge":
                return self.answer(self.server.scored(self.path, body, worth=1e30))
            case "model":
                return self.answer(self.server.scored(self.path, body) | {"model": "somebody-else"})
            case "squashed":
                return self.answer(self.server.scored(self.path, body | {"use_activation": True}))
        match self.path:
            case "/collective_rpc" | "/reset_prefix_cache":
                return self.answer({})
            case "/update_weight_version":
                self.server.version = body["new_version"]
                return self.answer({})
            case "/v1/completions":
                return self.answer(self.server.sampled(body))
        self.answer(self.server.scored(self.path, body))

    def answer(self, content: Any, status: int = 200, kind: str = "application/json") -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        print(format % args, flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.name, self.version = folder, options.served_model_name, "default"
        self.policy, self.pools, self.started = options.scheduling_policy, options.runner == "pooling", time.monotonic()
        super().__init__(("127.0.0.1", options.port), Handler)

    def mode(self) -> str:
        path = self.folder / "mode"
        return path.read_text().strip() if path.exists() else "ok"

    def note(self, line: str) -> None:
        with (self.folder / "seen").open("a") as file:
            file.write(line + "\n")

    def metrics(self) -> str:
        """Its counters as vLLM writes them. They grow while it is busy; a pooling server generates nothing."""
        count = 1e6 + (time.monotonic() - self.started) * 1e3 if self.mode() == "busy" else 1e6
        read, generated = (count, 0.0) if self.pools else (1e6, count)
        labels = f'{{engine="0",model_name="{self.name}"}}'
        return (
            "# HELP vllm:prompt_tokens_total Number of prefill tokens processed.\n"
            "# TYPE vllm:prompt_tokens_total counter\n"
            f"vllm:prompt_tokens_total{labels} {read}\n"
            f"vllm:prompt_tokens_created{labels} {time.time()}\n"
            f"vllm:generation_tokens_total{labels} {generated}\n"
            f"vllm:generation_tokens_created{labels} {time.time()}\n"
        )

    def sampled(self, body: dict[str, Any]) -> dict[str, Any]:
        """Tokens that are a function of what is asked, all of about the probability that an untrained model gives."""
        choices = []
        for index in range(body["n"]):
            digest = hashlib.sha256(f"{body['prompt']} {body['seed']} {index}".encode()).digest()
            ids = [100 + byte for byte in digest[: body["max_tokens"]]]
            choices.append({"index": index, "token_ids": ids, "logprobs": {"token_logprobs": [-10.8] * len(ids)}})
        return {"model": self.name, "choices": choices}

    def scored(self, path: str, body: dict[str, Any], *, worth: Any = "the right one") -> dict[str, Any]:
        data: list[dict[str, Any]] = []
        for index, item in enumerate(body["input"]):
            if path == "/v1/embeddings":
                vector = embedding(item) if worth == "the right one" else [worth] * DIMENSION
                data.append({"index": index, "object": "embedding", "embedding": vector})
            else:
                raw = logit(item)
                score = raw if body.get("use_activation") is False else 1 / (1 + math.exp(-raw))
                data.append(
                    {"index": index, "object": "pooling", "data": [score if worth == "the right one" else worth]}
                )
        return {"object": "list", "model": self.name, "data": data}


def main(folder: Path, arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print("0.0.1+fake")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("model")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    parser.add_argument("--scheduling-policy", default="fcfs")
    parser.add_argument("--runner", default="generate")
    options, _ = parser.parse_known_args(arguments)
    assert options.serve == "serve"
    starts = (folder / "starts").read_text().split() if (folder / "starts").exists() else []
    seen = (folder / "seen").read_text() if (folder / "seen").exists() else ""
    number = sum(line.startswith("start ") for line in seen.splitlines())
    how = starts[number] if number < len(starts) else "ok"
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with (folder / "seen").open("a") as file:
        file.write(f"start {how} {os.getpid()} {grandchild.pid} {options.model} {sorted(os.environ)}\n")
    print(f"loading {options.model}, the {number + 1}. time", flush=True)
    if how == "exit0":
        sys.exit(0)
    if how == "exit1":
        sys.exit("RuntimeError: no such architecture")
    if how == "slow":
        time.sleep(600)
    Server(folder, options).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
