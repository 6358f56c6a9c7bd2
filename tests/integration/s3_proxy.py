"""A proxy before S3 that fails as networks and services do: throttles, answers 500, cuts an answer in the middle.

    with FaultProxy(s3.port) as proxy:
        proxy.fail("GET", "/data/a.parquet", throttle, times=3)
"""

import dataclasses
import http.client
import http.server
import re
import socket
import ssl
import threading
import typing

from program import seconds

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclasses.dataclass
class Request:
    method: str
    path: str  # with its query
    headers: dict  # by their names in lower case

    @property
    def key_id(self) -> str:
        """The access key that signed it."""
        found = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        return found.group(1) if found else ""


@dataclasses.dataclass
class Fault:
    method: str
    path: str  # a regular expression
    act: typing.Callable
    times: int


def answer(status: int, code: str, message: str = "told by the test"):
    """The service's own error, as XML; to HEAD without a body, as S3 does."""
    def act(handler, _forward):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        handler.reply(status, {"Content-Type": "application/xml"}, body)
    return act


throttle = answer(503, "SlowDown", "Please reduce your request rate.")
internal_error = answer(500, "InternalError", "We encountered an internal error.")


def cut(handler, forward):
    """Sends half of the body that was announced and closes the connection."""
    status, headers, body = forward()
    handler.reply(status, headers, body[:len(body) // 2], announced=len(body))
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler, _forward):
    """Says nothing until the client has gone."""
    handler.connection.recv(1)


def before(call):
    """Calls, then lets the request through."""
    def act(handler, forward):
        call()
        handler.reply(*forward())
    return act


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def reply(self, status: int, headers: dict, body: bytes, announced: int = None):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", str(length or (len(body) if announced is None else announced)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def handle_one(self):
        proxy = self.server.proxy
        body = self.body()
        headers = {name.lower(): value for name, value in self.headers.items()}

        def forward():
            target = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=seconds(60))
            sent = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
            sent["content-length"] = str(len(body))
            target.request(self.command, self.path, body, sent)
            reply = target.getresponse()
            content = reply.read()
            target.close()
            return reply.status, dict(reply.getheaders()), content

        act = proxy.take(Request(self.command, self.path, headers))
        if act is None:
            self.reply(*forward())
        else:
            act(self, forward)
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # clients that went away


class FaultProxy:
    """Passes every request on to 127.0.0.1:`target`, but those that `fail` names."""

    def __init__(self, target: int, certificate=None):
        """`certificate`: a file with it and its key, in PEM; then the proxy speaks TLS."""
        self.target, self.certificate = target, certificate
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __enter__(self):
        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self._server.proxy = self
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate)
            # The handshake is the handler's: a client that breaks it off must not stop the others.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def fail(self, method: str, path: str, act, times: int = 1_000_000):
        """The next `times` requests of the method ("" for all) whose path the expression finds."""
        with self._lock:
            self._faults.append(Fault(method, path, act, times))

    def reset(self):
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def left(self) -> int:
        """How often faults have not happened yet."""
        with self._lock:
            return sum(fault.times for fault in self._faults)

    def take(self, request: Request):
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times > 0 and fault.method in ("", request.method) and re.search(fault.path, request.path):
                    fault.times -= 1
                    return fault.act
        return None
