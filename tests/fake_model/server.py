"""The HTTP side: routes the three APIs, streams at the script's pace, keeps a log of every request."""

import json
import pathlib
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, TracebackType
from typing import Self

from tests.fake_model import chat_completions, messages, responses
from tests.fake_model.messages import Frame
from tests.fake_model.script import Answer, Json, answer

APIS: dict[str, ModuleType] = {
    "/messages": messages,
    "/chat/completions": chat_completions,
    "/responses": responses,
}
_TEXT_DELTAS = ("content_block_delta", "response.output_text.delta")


@dataclass(frozen=True, slots=True)
class Logged:
    """One request: when it came (seconds since the epoch), its path and body, and the user's text in it."""

    at: float
    path: str
    body: Json
    user_text: str


def _is_piece(frame: Frame) -> bool:
    name, data = frame
    if isinstance(data, str):
        return False
    return name in _TEXT_DELTAS or bool(data.get("choices") and data["choices"][0]["delta"].get("content"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        """List one model, for programs that look before they start."""
        self._send(200, {"object": "list", "data": [{"id": "fake-model", "object": "model", "type": "model"}]})

    def do_POST(self) -> None:
        """Answer a request of one of the three APIs."""
        body: Json = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        path = self.path.partition("?")[0]
        api = next((module for suffix, module in APIS.items() if path.endswith(suffix)), None)
        if api is None:
            self._send(404, {"error": {"message": f"no such path: {path}", "type": "not_found"}})
            return
        conversation = api.read(body)
        self.server.record(Logged(time.time(), path, body, conversation.user_text))
        reply = answer(conversation)
        if reply.status != 200:
            self._send(reply.status, api.error(reply.status))
        elif body.get("stream"):
            self._stream(api, body, reply)
        else:
            time.sleep(reply.pause_s * len(reply.chunks))
            self._send(200, api.whole(body, reply))

    def _send(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, api: ModuleType, body: Json, reply: Answer) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for frame in api.stream(body, reply):
                if _is_piece(frame):
                    time.sleep(reply.pause_s)
                self._frame(*frame)
        except (BrokenPipeError, ConnectionResetError):
            # The caller has cancelled: nothing is left to do.
            return

    def _frame(self, name: str | None, data: Json | str) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        head = f"event: {name}\n" if name else ""
        self.wfile.write(f"{head}data: {text}\n\n".encode())
        self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Waiting for the streams of callers that went away would make every close slow.
    block_on_close = False

    def __init__(self, port: int, log: pathlib.Path | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[Logged] = []
        self._log = log
        self._lock = threading.Lock()

    def record(self, request: Logged) -> None:
        with self._lock:
            self.requests.append(request)
            if self._log:
                entry = {"at": request.at, "path": request.path, "body": request.body}
                with self._log.open("a") as file:
                    file.write(json.dumps(entry) + "\n")

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Stay silent: agent programs drop connections as they please."""


class FakeModel:
    """The server, from `with` to its end, in a thread of this process; `port` 0 takes a free one."""

    def __init__(self, port: int = 0, log: pathlib.Path | None = None) -> None:
        self._server = _Server(port, log)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Root of the APIs, without `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> list[Logged]:
        """Every request so far, oldest first."""
        return list(self._server.requests)

    def wait(self) -> None:
        """Block until the server ends, or the process is interrupted."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
