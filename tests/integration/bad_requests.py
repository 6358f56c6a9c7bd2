#!/usr/bin/env python3
"""Bad requests to `gnomon serve` and `gnomon serve-model` over real sockets: bad_requests.py GNOMON

Every refusal has its HTTP status and says why; after each the same server answers a good request.
"""

import contextlib
import json
import socket
import time

from program import CONFLICT, NOT_FOUND, Server, fail, run_demo, seconds, temporary_folder

END = "2025-01-03T00:00:00Z"
LARGE = 100 << 20

READ = "/get-online-features"
PREDICT = "/v1/models/sales-model:predict"
GOOD_READ = {"features": ["store_conditions:cpi"], "entities": {"store": [1, 2]}}
GOOD_PREDICTION = {"instances": [{"store": 1, "dept": 3}]}

# (body, status, texts of the answer)
READ_CASES = [
    ("", 400, ["the request has no body"]),
    ("{", 400, ["not valid JSON"]),
    ("\xff\xfe", 400, ["JSON"]),
    ("[1]", 400, ["object"]),
    ({}, 400, ["'features' or 'feature_service' is missing"]),
    ({"features": ["store_conditions:cpi"]}, 400, ["'entities' is missing"]),
    ({**GOOD_READ, "entites": 1}, 400, ["unknown member 'entites'", "did you mean 'entities'?"]),
    ({**GOOD_READ, "features": "store_conditions:cpi"}, 400, ["features"]),
    ({**GOOD_READ, "features": [1]}, 400, ["features"]),
    ({**GOOD_READ, "features": ["store_conditions"]}, 400, ["not a feature reference: 'store_conditions'"]),
    ({**GOOD_READ, "features": ["store_conditions:cp"]}, 404,
     ["feature view 'store_conditions' has no feature 'cp'", "did you mean 'cpi'?"]),
    ({**GOOD_READ, "features": ["store_condition:cpi"]}, 404,
     ["feature view does not exist: 'store_condition'", "did you mean 'store_conditions'?"]),
    ({"feature_service": "sales_servce", "entities": {"store": [1]}}, 404,
     ["feature service does not exist: 'sales_servce'", "did you mean 'sales_service'?"]),
    ({**GOOD_READ, "entities": [1]}, 400, ["entities"]),
    ({**GOOD_READ, "entities": {"store": 1}}, 400, ["entities.store"]),
    ({**GOOD_READ, "entities": {"store": ["x"]}}, 400, ["'store'", "string to int64"]),
    ({**GOOD_READ, "entities": {"store": [1.5]}}, 400, ["'store'"]),
    ({**GOOD_READ, "entities": {"store": [1, "x"]}}, 400, ["entities.store"]),
    ({**GOOD_READ, "entities": {"stor": [1]}}, 400, ["entity column is missing: 'store'", "did you mean 'stor'?"]),
    ({**GOOD_READ, "as_of": "soon"}, 400, ["expected a timestamp, got 'soon'"]),
    ({**GOOD_READ, "full_feature_names": "yes"}, 400, ["full_feature_names"]),
]

# What would change the store: path, body, status, text. None of it may.
WRITE_CASES = [
    ("/write-to-online-store", {"feature_view_name": "store_condition", "df": {}}, 404, "did you mean 'store_conditions'?"),
    ("/write-to-online-store", {"feature_view_name": "store_conditions"}, 400, "'df' is missing"),
    ("/write-to-online-store", {"feature_view_name": "store_conditions", "df": {"store": [1]}}, 400, "event_timestamp"),
    ("/materialize", {}, 400, "'start_ts' is missing"),
    ("/materialize", {"start_ts": END, "end_ts": END}, 400, "before"),
    ("/materialize?async=perhaps", {"start_ts": "2025-01-01", "end_ts": END}, 400, "async"),
    ("/materialize-incremental", {"end_ts": END, "feature_views": ["nothing"]}, 404, "'nothing'"),
]

PREDICTION_CASES = [
    ("", 400, ["the request has no body"]),
    ("{", 400, ["not valid JSON"]),
    ("[1]", 400, ["object"]),
    ({}, 400, ["'instances' is missing"]),
    ({"instances": 3}, 400, ["instances"]),
    ({"instances": [3]}, 400, ["instances[0]"]),
    ({"instances": [{"store": 1}]}, 400, ["'dept'"]),
    ({"instances": [{"store": 1, "dept": 3, "dpt": 1}]}, 400, ["unknown member 'dpt'", "did you mean 'dept'?"]),
    ({"instances": [{"store": "x", "dept": 3}]}, 400, ["'store'", "string to int64"]),
    ({"instances": [{"store": 1, "dept": 3}, {"store": "x", "dept": 3}]}, 400,
     ["instances[].store", "integers and strings"]),
    ({"instances": [{"store": 999, "dept": 3}]}, 404, ["store", "999"]),
    ({"instances": [{"store": 1, "dept": 777}]}, 404, ["store=1, dept=777", "sales_features"]),
    ({**GOOD_PREDICTION, "as_of": 3}, 400, ["as_of"]),
]


def check_case(server: Server, path: str, body, status: int, says) -> None:
    got, text = server.request("POST", path, body.encode("latin-1") if isinstance(body, str) else body)
    assert got == status, (body, got, text)
    answer = json.loads(text)
    if isinstance(answer, str):  # Feast's errors: an object in a string
        answer = json.loads(answer)
        assert answer["module"] == "feast.errors", answer
    told = json.dumps(answer, ensure_ascii=False)
    assert isinstance(answer, dict) and all(each in told for each in says), (body, says, text)


def check_cases(server: Server, path: str, cases, good) -> None:
    expected = server.post(path, good)
    assert expected[0] == 200, expected
    for body, status, says in cases:
        check_case(server, path, body, status, says)
        assert server.post(path, good) == expected, body


def check_writes(server: Server, path: str, good) -> None:
    expected = server.post(path, good)
    for target, body, status, says in WRITE_CASES:
        check_case(server, target, body, status, [says])
    assert server.post(path, good) == expected


def check_routes(server: Server, path: str) -> None:
    for method, target, status in (("GET", "/nothing", 404), ("POST", "/nothing", 404), ("DELETE", path, 405),
                                   ("POST", "/metrics", 405), ("GET", "/metrics", 200)):
        got = server.request(method, target)
        assert got[0] == status and (status == 200 or "error" in json.loads(got[1])), (method, target, got)
    assert server.request("POST", path, b"x", {"Content-Length": "-1"})[0] == 400


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            data += part
    return data


def check_large_body(server: Server, path: str) -> None:
    """A body of 100 MB is refused by its length alone, and while it is sent in chunks of unknown number."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    block = b"[" * (1 << 20)
    for length in (f"Content-Length: {LARGE}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=seconds(30)) as connection:
            connection.sendall((head + length).encode())
            chunked = "chunked" in length
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(LARGE >> 20):
                    connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            answer = read_to_end(connection)
        # The answer may be lost to a reset when the client never stops sending; then only the refusal counts.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 413 "), answer[:200]
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds(30)) as connection:
        connection.sendall((head + f"Content-Length: {LARGE}\r\n\r\n").encode())
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"error" in answer, answer[:200]


def half_sent(server: Server, text: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=seconds(40))
    connection.sendall(text.encode())
    return connection


def check_cut_off(server: Server, path: str) -> None:
    """A client that goes away in the middle of its request gets no answer that looks like success."""
    for text in ("", "POST ", f"POST {path} HTTP/1.1\r\nHost: x\r\n",
                 f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{\"instances\""):
        with half_sent(server, text) as connection:
            connection.shutdown(socket.SHUT_WR)
            answer = read_to_end(connection)
        assert not answer or answer.startswith(b"HTTP/1.1 4"), (text, answer)
    with half_sent(server, "\x00\x01 nonsense\r\n\r\n") as connection:
        assert read_to_end(connection).startswith(b"HTTP/1.1 400 ")
    with half_sent(server, f"GET / HTTP/1.1\r\nHost: x\r\nX: {'y' * 100_000}\r\n\r\n") as connection:
        assert read_to_end(connection).startswith(b"HTTP/1.1 431 ")


def check_timeout(connection: socket.socket, started: float) -> None:
    """A request whose head does not come is answered with 408 and closed after the header time limit of 15 s."""
    answer = read_to_end(connection)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert time.monotonic() - started > 10, "closed before the time limit"


def check_port_in_use(folder, command: str, server: Server) -> None:
    fail("-c", folder, command, "-p", server.port, code=CONFLICT,
         says=[f"port {server.port} of 127.0.0.1 is in use", "choose another port"])


with temporary_folder() as temporary:
    sales = temporary / "sales"
    run_demo(sales, 6, 5, 1)
    with Server(sales, "serve", "--as-of", END) as features, Server(sales, "serve-model", "--as-of", END) as models:
        begun = time.monotonic()
        slow = [half_sent(features, "POST /get-online-"), half_sent(models, f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n")]
        for server, command, path, cases, good in ((features, "serve", READ, READ_CASES, GOOD_READ),
                                                   (models, "serve-model", PREDICT, PREDICTION_CASES, GOOD_PREDICTION)):
            check_cases(server, path, cases, good)
            check_routes(server, path)
            if server is features:
                check_writes(server, path, good)
            check_cut_off(server, path)
            check_large_body(server, path)
            check_port_in_use(sales, command, server)
        for name in ("/v1/models/sales-modl", "/v1/models/sales-modl:predict"):
            status, text = models.request("POST" if ":" in name else "GET", name, GOOD_PREDICTION)
            assert status == 404 and "sales-model" in text, (name, status, text)
        status, answer = features.post(READ, {**GOOD_READ, "entities": {"store": [1, 999]}})
        assert status == 200 and answer["results"][1]["statuses"] == ["PRESENT", "NOT_FOUND"], answer
        for connection in slow:
            check_timeout(connection, begun)
        assert features.is_running() and models.is_running()
        assert features.post(READ, GOOD_READ)[0] == 200 and models.post(PREDICT, GOOD_PREDICTION)[0] == 200
    fail("-c", sales, "serve-model", "-p", "0", "-m", "sales-modl", code=NOT_FOUND, says="'sales-modl'")
print("bad requests are refused")
