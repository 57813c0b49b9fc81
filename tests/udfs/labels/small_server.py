"""A server with OpenAI's API in this process, whose answers the test chooses."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """A response: its state, its body (text is sent as it is), headers, and seconds to wait before it.

    State 0: the connection is broken off.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0


def says(text: str, reason: str = "stop", tokens: tuple[int, int] = (10, 2)) -> Reply:
    """An answer to a chat."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    return Reply(body={"choices": [choice], "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}})


def refuses(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI words it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "type": "x"}}, named)


def of(replies: dict[str, list[Reply]]) -> Callable[[dict[str, Any], int], Reply]:
    """Replies by document: one after the other, the last again and again; all others get food."""

    def reply(body: dict[str, Any], before: int) -> Reply:
        document = body["messages"][-1]["content"]
        chosen = replies.get(document, [says("food,skip")])
        return chosen[min(before, len(chosen) - 1)]

    return reply


def always(reply: Reply) -> Callable[[dict[str, Any], int], Reply]:
    return lambda body, before: reply


def statuses(rows: list[dict[str, Any]]) -> list[str]:
    return [row["status"] for row in rows]


class Served:
    """What the server has seen."""

    def __init__(self, reply: Callable[[dict[str, Any], int], Reply], models: tuple[str, ...]) -> None:
        self.reply = reply
        self.models = models
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.at_once = 0
        self.most_at_once = 0
        self.broken_off = 0
        self.times: list[float] = []
        self.url = ""
        self.lock = threading.Lock()

    def document(self, number: int = -1) -> str:
        """The document in a request."""
        return str(self.requests[number]["messages"][-1]["content"])


@contextmanager
def server(reply: Callable[[dict[str, Any], int], Reply], models: tuple[str, ...] = ("small",)) -> Iterator[Served]:
    """Serve; ``reply`` gets a request's body and how often the same body came before."""
    served = Served(reply, models)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.authorizations.append(self.headers.get("Authorization"))
            self.send(Reply(body={"data": [{"id": each} for each in served.models]}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with served.lock:
                before = served.requests.count(body)
                served.requests.append(body)
                served.paths.append(self.path)
                served.times.append(time.monotonic())
                served.authorizations.append(self.headers.get("Authorization"))
                served.at_once += 1
                served.most_at_once = max(served.most_at_once, served.at_once)
            try:
                self.send(served.reply(body, before))
            finally:
                with served.lock:
                    served.at_once -= 1

        def send(self, reply: Reply) -> None:
            end = time.monotonic() + reply.wait
            self.connection.settimeout(0.02)
            while time.monotonic() < end:
                try:
                    gone = self.connection.recv(1) == b""
                except TimeoutError:
                    continue
                except OSError:
                    gone = True
                if gone:
                    with served.lock:
                        served.broken_off += 1
                    self.close_connection = True
                    return
            self.connection.settimeout(None)
            if not reply.status:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            content = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            kind = "text/plain" if isinstance(reply.body, str) else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    class Threads(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client went away in the middle

    httpd = Threads(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
