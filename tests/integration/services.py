"""Real servers for tests: PostgreSQL, Redis and a stand-in for S3, each of its own, on loopback.

Each is a context manager. A server lives in a temporary folder, ends with its scope and also when this process is
killed. A missing one fails the test and says what to install.

    with Postgres() as postgres:
        postgres.sql("create table t (x int)")
"""

import contextlib
import ctypes
import glob
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from program import seconds

ROOT = pathlib.Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1


class Missing(AssertionError):
    """A server is not installed."""


def find(program: str, *folders, install: str) -> str:
    found = shutil.which(program, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if found is None:
        raise Missing(f"{program} is not installed: `make setup` ({install})")
    return found


def free_port() -> int:
    """A port that nobody listens on, below those that the system takes for clients: none of them takes it before it is
    bound, or while its server is restarted."""
    first_of_clients = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(10_000, first_of_clients) if first_of_clients >= 20_000 else 0))
            return probe.getsockname()[1]
    raise AssertionError("no free port on the loopback interface")


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Server:
    """A child process in a temporary folder. `user` is who it runs as when this process is root's."""

    user = None
    stop_signal = signal.SIGTERM

    def __init__(self):
        self.process = None
        self.port = None

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        with self._stack:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gnomon-"))
            self.folder = pathlib.Path(folder)
            if self.user and os.geteuid() == 0:
                account = pwd.getpwnam(self.user)
                os.chown(folder, account.pw_uid, account.pw_gid)
            self.prepare()
            self.start()
            self._stack.callback(self.stop)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def prepare(self):
        pass

    def command(self) -> list:
        raise NotImplementedError

    def is_ready(self) -> bool:
        return answers(self.port)

    def spawn(self, command, **options):
        """A child as `user` that ends when this process does."""
        account = pwd.getpwnam(self.user) if self.user and os.geteuid() == 0 else None

        def become():
            if account is not None:
                os.initgroups(account.pw_name, account.pw_gid)
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)

        return subprocess.Popen([str(word) for word in command], preexec_fn=become, cwd=self.folder, **options)

    def start(self):
        """Starts it, the second time on the same port and with the same data."""
        for attempt in range(4):
            first = self.port is None
            if first:
                self.port = free_port()
            log = self.folder / "log"
            with open(log, "ab") as out:
                self.process = self.spawn(self.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            end = time.monotonic() + seconds(60)
            while self.process.poll() is None:
                if self.is_ready():
                    return
                if time.monotonic() > end:
                    self.stop()
                    raise AssertionError(f"{type(self).__name__} was not ready in time: {log.read_text()}")
                time.sleep(0.01)
            if not first or attempt == 3:
                break
            self.port = None  # somebody else may have taken it meanwhile
        raise AssertionError(f"{type(self).__name__} ended at once: {log.read_text()}")

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(seconds(30))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        self.start()


class Postgres(Server):
    """PostgreSQL with a superuser, a password on TCP and none on the unix socket in `folder`; without fsync."""

    stop_signal = signal.SIGINT  # does not wait for clients

    def __init__(self, user="gnomon", password="correct horse", database="postgres"):
        super().__init__()
        self.login, self.password, self.database = user, password, database
        self.user = "postgres"  # PostgreSQL refuses to run as root

    def program(self, name: str) -> str:
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
        return find(name, *folders, install="apt-get install postgresql-15")

    def prepare(self):
        passwords = self.folder / "password"
        passwords.write_text(self.password)
        if os.geteuid() == 0:
            os.chown(passwords, *pwd.getpwnam(self.user)[2:4])
        made = self.spawn([self.program("initdb"), "-D", self.folder / "data", "-U", self.login, "-E", "UTF8",
                           "--locale=C", "--no-sync", "--no-instructions", "--auth-local=trust",
                           "--auth-host=scram-sha-256", "--pwfile", passwords], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
        output, _ = made.communicate(timeout=seconds(120))
        assert made.returncode == 0, f"initdb: {output}"

    def command(self) -> list:
        settings = {"listen_addresses": "127.0.0.1", "fsync": "off", "full_page_writes": "off",
                    "shared_buffers": "64MB", "max_connections": "50", "max_wal_size": "512MB", "lc_messages": "C"}
        return [self.program("postgres"), "-D", self.folder / "data", "-p", self.port, "-k", self.folder,
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return "\nready" in (self.folder / "data" / "postmaster.pid").read_text()
        return False

    @property
    def environment(self) -> dict:
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": self.login, "PGPASSWORD": self.password,
                "PGDATABASE": self.database}

    @property
    def yaml(self) -> str:
        """The keys of feature_store.yaml that name this server, as members of a flow mapping."""
        return (f"host: 127.0.0.1, port: {self.port}, database: {self.database}, user: {self.login}, "
                f"password: {self.password}")

    @property
    def url(self) -> str:
        password = self.password.replace(" ", "%20")
        return f"postgresql://{self.login}:{password}@127.0.0.1:{self.port}/{self.database}"

    @property
    def psql(self) -> list:
        return [find("psql", install="apt-get install postgresql-15"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]

    def sql(self, statements: str, stdin=None) -> str:
        """What psql prints for the statements: unaligned rows, '|' between columns."""
        done = subprocess.run([*self.psql, "-c", statements], env={**os.environ, **self.environment}, stdin=stdin,
                              capture_output=True, text=True, timeout=seconds(120))
        assert done.returncode == 0, f"psql: {done.stderr}"
        return done.stdout


class Redis(Server):
    """redis-server on a free port; `persistent` keeps the data over a restart."""

    def __init__(self, password="", persistent=False, options=()):
        super().__init__()
        self.password, self.persistent, self.options = password, persistent, options

    def command(self) -> list:
        program = find("redis-server", install="apt-get install redis-server")
        return [program, "--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                "--appendonly", "yes" if self.persistent else "no",
                *(["--requirepass", self.password] if self.password else []), *self.options]

    def is_ready(self) -> bool:
        return answers(self.port) and "PONG" in self.cli("PING", check=False)

    @property
    def address(self) -> str:
        """Feast's connection_string without its options."""
        return f"127.0.0.1:{self.port}"

    def cli(self, *words, check=True) -> str:
        """What redis-cli prints."""
        secret = ["-a", self.password, "--no-auth-warning"] if self.password else []
        done = subprocess.run([find("redis-cli", install="apt-get install redis-server"), "-p", str(self.port), *secret,
                               *map(str, words)], capture_output=True, text=True, timeout=seconds(60))
        assert not check or done.returncode == 0, f"redis-cli: {done.stdout}{done.stderr}"
        return done.stdout


class RedisCluster:
    """Three masters of a Redis cluster, each with a third of the slots."""

    SLOTS = 16384

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        with self._stack:
            # The usual port of the cluster's own talk is port + 10000, which may be none.
            self.buses = [free_port() for _ in range(3)]
            self.servers = [self._stack.enter_context(Redis(options=["--cluster-enabled", "yes", "--cluster-port", bus]))
                            for bus in self.buses]
            bounds = [self.SLOTS * i // len(self.servers) for i in range(len(self.servers) + 1)]
            for number, server in enumerate(self.servers):
                server.cli("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                server.cli("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for server, bus in list(zip(self.servers, self.buses))[1:]:
                self.servers[0].cli("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
            end = time.monotonic() + seconds(60)
            while not all(map(self.is_well, self.servers)):
                assert time.monotonic() < end, f"the Redis cluster does not come about: {self.servers[0].cli('CLUSTER', 'INFO')}"
                time.sleep(0.02)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def is_well(self, server) -> bool:
        info = server.cli("CLUSTER", "INFO")
        return "cluster_state:ok" in info and f"cluster_size:{len(self.servers)}" in info

    @property
    def address(self) -> str:
        """Feast's connection_string without its options."""
        return ",".join(server.address for server in self.servers)


class S3(Server):
    """moto's S3 with a bucket. `environment` lets gnomon, and every other client, find it."""

    def __init__(self, bucket="gnomon"):
        super().__init__()
        self.bucket = bucket

    def command(self) -> list:
        program = find("moto_server", ROOT / ".venv-services" / "bin", install=".venv-services")
        return [program, "-H", "127.0.0.1", "-p", self.port]

    def start(self):
        super().start()
        self.request("PUT", self.bucket)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict:
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}

    def request(self, method: str, path: str, body: bytes = None) -> bytes:
        """A plain request; moto wants a signature but does not check it."""
        scope = "Credential=test/20260101/us-east-1/s3/aws4_request"
        request = urllib.request.Request(f"{self.endpoint}/{path}", data=body, method=method, headers={
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/octet-stream"})
        with urllib.request.urlopen(request, timeout=seconds(30)) as answer:
            return answer.read()

    def put(self, key: str, body: bytes):
        self.request("PUT", f"{self.bucket}/{key}", body)

    def get(self, key: str) -> bytes:
        return self.request("GET", f"{self.bucket}/{key}")
