#!/usr/bin/env python3
"""PostgreSQL and Redis are stopped and started in the middle of a materialization and of online reads.

store_restarts.py GNOMON. A short absence is waited for; a long one ends in an error that names the store, and what was
begun is completed by a second run. A server of ours recovers by itself. The cases run beside each other: they mostly
wait.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import trips
from online_dumps import PostgresStore, RedisStore
from program import (CONFLICT, NOT_FOUND, PROGRAM, SUCCESS, UNAVAILABLE, Server, describe, run, seconds,
                     temporary_folder)
from services import Postgres, Redis
from trips import INTERVAL, VIEWS

KEYS, COMMIT = 200, 16
REQUEST = {"features": ["latest:fare", "window:week"], "entities": {"driver_id": [1, 2, KEYS + 1]}}


def make_repository(folder: pathlib.Path, store, layout: str, registry: str = "data/registry.db") -> pathlib.Path:
    rows = [(day, f"{key},{key + day}") for day in (1, 3) for key in range(KEYS)]
    return trips.make_repository(folder, store, layout, COMMIT, rows, registry=registry)


@contextlib.contextmanager
def paused(folder: pathlib.Path, point: str):
    """A materialization that stands still at a fault point; it goes on when the scope ends."""
    process = subprocess.Popen([PROGRAM, "-c", str(folder), "materialize", *INTERVAL, "--json"],
                               env={**os.environ, "GNOMON_FAULT": point + ":pause"}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + seconds(30)
        while pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1][0] != "T":
            assert process.poll() is None and time.monotonic() < end, "the job does not stop at its fault point"
            time.sleep(0.01)
        yield process
        process.send_signal(signal.SIGCONT)
    except BaseException:
        process.kill()
        process.communicate()
        raise


def end_of(process) -> subprocess.CompletedProcess:
    out, err = process.communicate(timeout=seconds(90))
    return subprocess.CompletedProcess([], process.returncode, out, err)


def newest_job(folder: pathlib.Path) -> dict:
    return json.loads(run("-c", folder, "materializations", "list", "--json"))[0]


def clean_dump(folder: pathlib.Path, store, layout: str) -> dict:
    run("-c", make_repository(folder, store, layout), "materialize", *INTERVAL)
    dump = store.dump(folder, VIEWS)
    assert {len(rows) for rows in dump.values()} == {KEYS}, dump
    store.reset()
    return dump


def check_short_absence(folder: pathlib.Path, store, clean: dict, layout: str, registry: str) -> None:
    """Gone in the middle of a view and back after a second: the job waits and succeeds."""
    make_repository(folder, store, layout, registry)
    with paused(folder, "materialize.before_commit:5") as process:
        store.server.stop()
    time.sleep(1)
    assert process.poll() is None, describe(["materialize"], end_of(process))
    store.server.start()
    ended = end_of(process)
    assert ended.returncode == SUCCESS, ended
    assert json.loads(ended.stdout)["rows"] == 2 * KEYS, ended
    assert store.dump(folder, VIEWS) == clean and newest_job(folder)["state"] == "succeeded"


def check_long_absence(folder: pathlib.Path, store, clean: dict, layout: str) -> None:
    """Gone for longer than anybody waits: the job fails and names the store; a second run goes on where it ended."""
    make_repository(folder, store, layout)
    with paused(folder, "materialize.before_commit:5") as process:
        store.server.stop()
    ended = end_of(process)
    assert ended.returncode == UNAVAILABLE and f"127.0.0.1:{store.server.port}" in ended.stderr, ended
    assert "gave up after" in ended.stderr and "materialize latest: " in ended.stderr, ended
    job = newest_job(folder)
    assert job["state"] == "failed" and job["progress"][0]["rows"] == 4 * COMMIT, job
    store.server.start()
    answer = json.loads(run("-c", folder, "materialize", *INTERVAL, "--json"))
    assert answer["job"] == job["job"] and answer["resumed"] == 1, answer
    assert store.dump(folder, VIEWS) == clean


def values_of(answer: dict) -> list:
    return [result["values"] for result in answer["results"][-2:]]


def check_reads(folder: pathlib.Path, store, layout: str) -> None:
    """A server of ours: requests of a short absence are answered late, the first ones of a long one get 503 after a
    few seconds and all later ones after one attempt, then all is well."""
    make_repository(folder, store, layout)
    run("-c", folder, "materialize", *INTERVAL)
    with Server(folder, "serve", "--as-of", "2026-01-05") as features:
        status, answer = features.post("/get-online-features", REQUEST)
        assert status == 200 and values_of(answer)[0] == [4, 5, None], answer
        before = values_of(answer)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in range(5):
                begun = time.monotonic()
                store.server.stop()
                late = [pool.submit(features.post, "/get-online-features", REQUEST) for _ in range(4)]
                time.sleep(0.5)
                early = [each.result() for each in late if each.done()]
                store.server.start()
                answers = [each.result() for each in late]
                # A server that was away for longer than they wait is no answer: then once more.
                if time.monotonic() - begun < 4 or all(status == 200 for status, _ in answers):
                    break
            assert not early, early
            for status, answer in answers:
                assert status == 200 and values_of(answer) == before, answer
            store.server.stop()
            refused = [pool.submit(features.post, "/get-online-features", REQUEST) for _ in range(4)]
            for status, answer in (each.result() for each in refused):
                assert status == 503 and f"127.0.0.1:{store.server.port}" in json.dumps(answer), (status, answer)
            assert any("gave up after" in json.dumps(each.result()) for each in refused), refused[0].result()
            time.sleep(0.5)  # nothing is left of their patience
            hasty = [pool.submit(features.post, "/get-online-features", REQUEST) for _ in range(40)]
            for status, answer in (each.result() for each in hasty):
                assert status == 503 and "no answer since 20" in json.dumps(answer), (status, answer)
                assert "gave up after" not in json.dumps(answer), answer
        store.server.start()
        status, answer = features.post("/get-online-features", REQUEST)
        assert status == 200 and values_of(answer) == before, answer


def check_lost_data(folder: pathlib.Path, store, clean: dict, layout: str) -> None:
    """A Redis that keeps nothing comes back empty: the job says so, `apply` and a second run make everything anew."""
    make_repository(folder, store, layout)
    with paused(folder, "materialize.before_commit:5") as process:
        store.server.restart()
    ended = end_of(process)
    assert ended.returncode in (CONFLICT, NOT_FOUND) and f"127.0.0.1:{store.server.port}" in ended.stderr, ended
    run("-c", folder, "apply")
    run("-c", folder, "materialize", *INTERVAL)
    assert store.dump(folder, VIEWS) == clean


def check_lost_copy(folder: pathlib.Path, store, clean: dict, layout: str) -> None:
    """A commit that is too large for one request is half sent when the server restarts: it is written again."""
    rows = [(1, f"{key},{chr(97 + key % 26) * 200_000}") for key in range(KEYS)]
    features = trips.FEATURES.replace("Float64", "String").replace("sum", "most_frequent")
    trips.make_repository(folder, store, layout, 1_000_000, rows, features=features)
    with paused(folder, "materialize.after_batch:1") as process:
        open_writes = store.server.sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
        store.server.restart()
    ended = end_of(process)
    assert open_writes == "1\n" and ended.returncode == SUCCESS, (open_writes, ended)
    assert "goes on from its last commit" in ended.stderr and json.loads(ended.stdout)["rows"] == 2 * KEYS, ended
    assert [len(rows) for rows in store.dump(folder, {"latest": ("fare",)}).values()] == [KEYS]


def restarted_registry(store) -> str:
    """PostgreSQL holds the registry, too: its absence is waited for there as well."""
    url = getattr(store.server, "url", None)
    return f"{{registry_type: sql, path: '{url}'}}" if url else "data/registry.db"


def check(server: str, case: str) -> None:
    makers = {"postgres": (Postgres, PostgresStore), "redis": (lambda: Redis(persistent=True), RedisStore),
              "forgetful": (Redis, RedisStore)}
    make_server, make_store = makers[server]
    layout = "feast" if server == "postgres" else "packed"
    with temporary_folder() as temporary, make_server() as running:
        store = make_store(running)
        clean = clean_dump(temporary / "clean", store, layout)
        checks = {"short": lambda folder: check_short_absence(folder, store, clean, layout, restarted_registry(store)),
                  "long": lambda folder: check_long_absence(folder, store, clean, layout),
                  "lost": lambda folder: check_lost_data(folder, store, clean, layout),
                  "copy": lambda folder: check_lost_copy(folder, store, clean, layout),
                  "reads": lambda folder: check_reads(folder, store, layout)}
        for name in case.split("+"):
            checks[name](temporary / name)


CASES = (("postgres", "short+copy"), ("postgres", "long"), ("postgres", "reads"), ("redis", "short"), ("redis", "long"),
         ("redis", "reads"), ("forgetful", "lost"))
if len(sys.argv) == 4:
    check(*sys.argv[2:])
else:
    # Each in a process of its own: a server ends with the thread that started it.
    running = {case: subprocess.Popen([sys.executable, "-B", __file__, PROGRAM, *case]) for case in CASES}
    ended = {case: process.wait(seconds(200)) for case, process in running.items()}
    assert not any(ended.values()), ended
    print("materializations and reads outlive a restart of their store, and say what is wrong when it stays away")
