"""Runs the program under test as a user does: commands, repositories, servers on real sockets.

A test is started as `python3 TEST GNOMON`; PROGRAM is that path.
"""

import contextlib
import http.client
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else ""
TIME_SCALE = float(os.environ.get("GNOMON_TEST_TIME_SCALE", "1"))

# Exit codes, as `gnomon --help` documents them.
SUCCESS, USER, NOT_FOUND, CONFLICT, DENIED, EXHAUSTED, UNAVAILABLE = 0, 2, 3, 4, 5, 6, 7
DATA_LOSS, UNSUPPORTED, INTERRUPTED = 9, 10, 130
KILLED = -signal.SIGKILL


def seconds(limit: float) -> float:
    """A deadline, longer where the machine is slow."""
    return limit * TIME_SCALE


def limit_file_size(limit: int):
    """For `before`: a write beyond `limit` bytes of a file fails, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def execute(*arguments, fault: str = "", before=None) -> subprocess.CompletedProcess:
    """Runs gnomon to its end. `fault` is a GNOMON_FAULT; `before` is called in the new process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_FAULT")}
    if fault:
        environment["GNOMON_FAULT"] = fault
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=seconds(120),
                          env=environment, preexec_fn=before)


def describe(arguments, result) -> str:
    return f"gnomon {' '.join(map(str, arguments))}: exit code {result.returncode}\n{result.stdout}{result.stderr}"


def run(*arguments, **options) -> str:
    """Standard output of a run that succeeds."""
    result = execute(*arguments, **options)
    assert result.returncode == SUCCESS, describe(arguments, result)
    return result.stdout


def fail(*arguments, code: int, says, **options) -> str:
    """Standard error of a run that fails with `code` and says every text of `says`, once and on standard error only."""
    result = execute(*arguments, **options)
    assert result.returncode == code, f"exit code {code} was expected\n" + describe(arguments, result)
    for text in [says] if isinstance(says, str) else says:
        assert text in result.stderr, f"{text!r} was expected\n" + describe(arguments, result)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "error: " not in result.stdout, describe(arguments, result)
    return result.stderr


def run_demo(folder, stores: int, depts: int, seed: int, *more) -> dict:
    return json.loads(run("demo", "sales", "--json", "--dir", folder, "--stores", stores, "--depts", depts, "--seed",
                          seed, *more))


@contextlib.contextmanager
def temporary_folder():
    with tempfile.TemporaryDirectory(prefix="gnomon-test") as folder:
        yield pathlib.Path(folder)


class Server:
    """`gnomon serve` or `gnomon serve-model` on a free port, ended by SIGTERM when the scope ends."""

    def __init__(self, folder, command: str, *arguments):
        self._command = [PROGRAM, "-c", str(folder), command, "-p", "0", *map(str, arguments)]

    def __enter__(self):
        reader, writer = os.pipe()
        self._process = subprocess.Popen([*self._command, "--ready-fd", str(writer)], pass_fds=[writer],
                                         stdout=subprocess.DEVNULL)
        os.close(writer)
        with os.fdopen(reader) as ready:
            line = ready.readline()
        if not line:
            raise AssertionError(f"{self._command} ended with {self._process.wait(seconds(20))}")
        self.port = int(line)
        return self

    def __exit__(self, *failure):
        self._process.terminate()
        try:
            code = self._process.wait(timeout=seconds(40))
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        if failure[0] is None:
            assert code == SUCCESS, f"the server ended with {code}"

    def is_running(self) -> bool:
        return self._process.poll() is None

    def request(self, method: str, path: str, body=None, headers=None):
        """The status and the text of one exchange over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds(30))
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def get(self, path: str):
        return self.request("GET", path)

    def post(self, path: str, body):
        """The status and the parsed answer."""
        status, text = self.request("POST", path, body)
        return status, json.loads(text)
