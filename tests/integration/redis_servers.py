#!/usr/bin/env python3
"""Redis over TLS and as a cluster, as a user meets them: redis_servers.py GNOMON

`gnomon doctor` names what is wrong, and what is applied, materialized, pushed and read is the same as on a plain server; also
while a cluster moves slots from server to server.
"""

import contextlib
import json
import pathlib
import subprocess
import threading

from program import DENIED, UNAVAILABLE, execute, fail, run, seconds, temporary_folder
from services import Redis, RedisCluster, find, free_port

KEYS = 200
FEATURES = """entities: [{name: driver, join_keys: [driver_id]}]
data_sources: [{name: trips, type: file, path: trips.csv, timestamp_field: event_timestamp}]
feature_views:
  - {name: latest, entities: [driver], source: trips, schema: [{name: fare, dtype: Float64}]}
  - {name: window, entities: [driver], source: trips, aggregations: [{column: fare, function: sum, time_window: 7d, name: week}]}
"""


def make_repository(folder: pathlib.Path, store: str) -> pathlib.Path:
    folder.mkdir()
    write_store(folder, store)
    (folder / "features.yaml").write_text(FEATURES)
    rows = [f"{key},{key + day},2026-01-0{day}T00:00:00Z" for day in (1, 3) for key in range(KEYS)]
    (folder / "trips.csv").write_text("driver_id,fare,event_timestamp\n" + "\n".join(rows) + "\n")
    return folder


def write_store(folder: pathlib.Path, store: str) -> None:
    (folder / "feature_store.yaml").write_text(f"project: p\nonline_store: {{{store}}}\n")


def read(folder: pathlib.Path, keys) -> list:
    answer = json.loads(run("-c", folder, "get-online-features", "-f", "latest:fare", "-f", "window:week", "-e",
                            json.dumps({"driver_id": keys}), "--as-of", "2026-01-04", "--json"))
    columns = dict(zip(answer["metadata"]["feature_names"], answer["results"]))
    return [(columns["fare"]["values"][row], columns["week"]["values"][row]) for row in range(len(keys))]


def check_flow(folder: pathlib.Path) -> None:
    """From doctor to the rows that are read."""
    run("-c", folder, "doctor")
    run("-c", folder, "apply")
    run("-c", folder, "materialize", "2026-01-01", "2026-01-04")
    keys = [*range(KEYS), KEYS + 1]
    assert read(folder, keys) == [*((key + 3, 2 * key + 4) for key in range(KEYS)), (None, None)]


def openssl(*words) -> None:
    done = subprocess.run([find("openssl", install="apt-get install openssl"), *map(str, words)], capture_output=True,
                          text=True, timeout=seconds(60))
    assert done.returncode == 0, done.stderr


def make_certificates(folder: pathlib.Path, names: str) -> None:
    """ca.crt, server.crt and server.key."""
    new_key = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new_key, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    openssl(*new_key, "-subj", "/CN=server", "-keyout", folder / "server.key", "-out", folder / "server.csr")
    (folder / "names").write_text(f"subjectAltName={names}\n")
    openssl("x509", "-req", "-days", "2", "-in", folder / "server.csr", "-CA", folder / "ca.crt", "-CAkey",
            folder / "ca.key", "-CAcreateserial", "-extfile", folder / "names", "-out", folder / "server.crt")


def check_tls(folder: pathlib.Path) -> None:
    make_certificates(folder, "DNS:localhost")
    with Redis(password="open sesame") as server:
        port = free_port()
        for name, value in (("tls-cert-file", folder / "server.crt"), ("tls-key-file", folder / "server.key"),
                            ("tls-ca-cert-file", folder / "ca.crt"), ("tls-auth-clients", "no"), ("tls-port", port)):
            server.cli("CONFIG", "SET", name, value)
        secure = f"localhost:{port},password=open sesame"

        def string(parameters: str, address: str = secure) -> str:
            return f"type: redis, connection_string: '{address}{parameters}'"

        repository = make_repository(folder / "tls", string(f",ssl=true,ssl_ca_certs={folder / 'ca.crt'}"))
        check_flow(repository)
        for parameters, address, code, says in (
                (",ssl=true", secure, DENIED, ["not trusted", "ssl_ca_certs"]),
                (f",ssl=true,ssl_ca_certs={folder / 'ca.crt'}", secure.replace("localhost", "127.0.0.1"), DENIED,
                 ["IP address mismatch", "ssl_check_hostname"]),
                ("", secure, UNAVAILABLE, ["ssl=true"])):
            write_store(repository, string(parameters, address))
            result = execute("-c", repository, "doctor")
            assert result.returncode != 0, result.stdout
            for text in says:
                assert text in result.stdout + result.stderr, f"doctor does not say {text!r}: {result.stdout}{result.stderr}"
            fail("-c", repository, "get-online-features", "-f", "latest:fare", "-e", '{"driver_id": [1]}', code=code, says=says)


def move_slots(cluster: RedisCluster, done: threading.Event) -> None:
    """Gives slots of the first server to the second and back, as long as there is time."""
    first, second = cluster.servers[:2]
    ids = {server: server.cli("CLUSTER", "MYID").strip() for server in (first, second)}
    program = find("redis-cli", install="apt-get install redis-server")
    while not done.is_set():
        for source, target in ((first, second), (second, first)):
            subprocess.run([program, "--cluster", "reshard", first.address, "--cluster-from", ids[source], "--cluster-to",
                            ids[target], "--cluster-slots", "200", "--cluster-yes"], capture_output=True, check=True,
                           timeout=seconds(120))


def check_cluster(folder: pathlib.Path) -> None:
    with RedisCluster() as cluster:
        one = cluster.servers[2].address  # the others are found
        for layout in ("packed", "feast"):
            repository = make_repository(folder / layout, f"type: redis, redis_type: redis_cluster, "
                                                          f"connection_string: '{one}', layout: {layout}")
            done = threading.Event()
            mover = threading.Thread(target=move_slots, args=(cluster, done))
            mover.start()
            try:
                check_flow(repository)
            finally:
                done.set()
                mover.join()
            keys = [int(server.cli("DBSIZE")) for server in cluster.servers]
            assert all(count > KEYS // 10 for count in keys), keys
            run("-c", repository, "teardown")
            left = [server.cli("KEYS", "*") for server in cluster.servers]
            assert not any(map(str.strip, left)), left
        cluster.servers[1].stop()
        result = execute("-c", repository, "doctor")
        assert result.returncode != 0 and cluster.servers[1].address in result.stdout + result.stderr, result.stdout + result.stderr


with contextlib.ExitStack() as stack:
    check_tls(pathlib.Path(stack.enter_context(temporary_folder())))
    check_cluster(pathlib.Path(stack.enter_context(temporary_folder())))
print("Redis over TLS and a Redis cluster are used as a plain server is")
