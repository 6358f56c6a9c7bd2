#!/usr/bin/env python3
"""`materialize` in worker processes: worker_materialize.py GNOMON

Into SQLite, PostgreSQL and Redis, in both layouts, what is stored and what is counted is what one process stores and
counts; also when a worker is killed in the middle of a write, and when the driver is killed after the commit of a part and
the command is repeated. A job that was begun in one mode ends right in the other one. The online store's password is in no
journal, and in no worker's arguments or environment. No journal is left.
"""

import json
import pathlib

from killed_worker import run_with_a_killed_worker
from online_dumps import PROJECT, PostgresStore, RedisStore, SqliteStore
from program import KILLED, USER, describe, execute, fail, run, temporary_folder
from services import Postgres, Redis

USERS, COMMIT = 150, 16
STORE = """project: {project}
registry: data/registry.db
online_store: {{{store}, layout: {layout}}}
materialization: {{online_write_batch_size: {batch}}}
batch_engine: {{type: local, isolation: {isolation}, max_workers: 2}}
"""
FEATURES = """entities: [{name: driver, join_keys: [driver_id]}]
data_sources:
  - {name: trips, type: file, path: trips, timestamp_field: event_timestamp}
  - {name: kept, type: file, path: kept, timestamp_field: event_timestamp}
feature_views:
  - {name: latest, entities: [driver], source: trips, sink_source: kept, filter: fare > 0, transformations: {twice: fare * 2},
     schema: [{name: fare, dtype: Float64}, {name: note, dtype: String}, {name: twice, dtype: Float64}]}
  - {name: window, entities: [driver], source: trips, aggregations: [{column: fare, function: sum, time_window: 7d, name: week}]}
  - {name: above, entities: [driver], source_views: [latest], schema: [{name: twice, dtype: Float64}]}
"""
VIEWS = {"latest": ("fare", "note", "twice"), "window": ("week",), "above": ("twice",)}
INTERVAL = ("2026-01-01", "2026-01-09")


class Repository:
    def __init__(self, folder: pathlib.Path, store, layout: str):
        self.folder, self.store, self.layout = folder, store, layout
        store.reset()
        (folder / "trips").mkdir(parents=True)
        (folder / "features.yaml").write_text(FEATURES)
        for day in range(1, 6):
            rows = [f"{user if user else ''},{user % 7 * day},n{user}-{day},2026-01-0{day}T00:00:00Z" for user in range(USERS)]
            (folder / f"trips/{day}.csv").write_text("driver_id,fare,note,event_timestamp\n" + "\n".join(rows) + "\n")
        self.use("thread")
        run("-c", folder, "apply")

    def use(self, isolation: str) -> None:
        (self.folder / "feature_store.yaml").write_text(STORE.format(
            project=PROJECT, store=self.store.yaml, layout=self.layout, batch=COMMIT, isolation=isolation))

    def command(self, *more) -> list:
        return ["-c", self.folder, "materialize", *INTERVAL, *more]

    def dump(self) -> dict:
        return self.store.dump(self.folder, VIEWS)

    def intervals(self) -> list:
        return [(view["view"], view["watermark"]) for view in json.loads(run("-c", self.folder, "status", "--json"))["views"]]

    def check(self, expected: dict, where: str) -> None:
        assert self.dump() == expected, f"{where}: other rows are stored"
        assert all(watermark is not None for _, watermark in self.intervals()), where
        assert not (self.folder / "data/materializations").exists(), f"{where}: a journal is left"


def counts(answer: str) -> dict:
    job = json.loads(answer)
    return {name: job[name] for name in ("rows", "skipped_rows", "failed_rows") if name in job}


def check_store(folder: pathlib.Path, store, layout: str) -> None:
    name = f"{store.name} {layout}"
    repository = Repository(folder / "one", store, layout)
    expected_counts = counts(run(*repository.command("--json")))
    expected = repository.dump()
    kept = sorted(path.read_bytes() for path in (repository.folder / "kept").iterdir())
    assert {view for view, _ in expected} == set(VIEWS) and expected_counts["skipped_rows"] > 0, (expected.keys(), expected_counts)

    repository = Repository(folder / "many", store, layout)
    repository.use("process")
    assert counts(run(*repository.command("--json"))) == expected_counts, name
    repository.check(expected, name)
    assert sorted(path.read_bytes() for path in (repository.folder / "kept").iterdir()) == kept, name

    # A worker dies between the write and the commit of a part, and after one.
    for fault in ("materialize.before_commit", "materialize.after_commit"):
        repository = Repository(folder / fault, store, layout)
        repository.use("process")

        def look(worker: int) -> None:
            seen = pathlib.Path(f"/proc/{worker}/environ").read_bytes() + pathlib.Path(f"/proc/{worker}/cmdline").read_bytes()
            assert store.password == "" or store.password.encode() not in seen, "a worker shows the password"

        run_with_a_killed_worker(repository.command(), fault, look)
        repository.check(expected, f"{name}, a worker killed at {fault}")

    # The driver dies, and the command is repeated, in workers or in one process.
    for isolation in ("process", "thread"):
        repository = Repository(folder / f"driver-{isolation}", store, layout)
        repository.use("process")
        result = execute(*repository.command(), fault="job.after_commit:1:kill")
        assert result.returncode == KILLED, describe(repository.command(), result)
        journals = list((repository.folder / "data/materializations").iterdir())
        assert len(journals) == 1 and (store.password == "" or store.password.encode() not in journals[0].read_bytes())
        assert any(watermark is None for _, watermark in repository.intervals()), "published before all rows"
        repository.use(isolation)
        run(*repository.command())
        repository.check(expected, f"{name}, repeated with isolation: {isolation}")

    # Begun in one process, ended in workers.
    repository = Repository(folder / "begun", store, layout)
    result = execute(*repository.command(), fault="materialize.after_commit:3:kill")
    assert result.returncode == KILLED, describe(repository.command(), result)
    repository.use("process")
    run(*repository.command())
    repository.check(expected, f"{name}, begun in one process")


def check_rows_that_fail(folder: pathlib.Path, store) -> None:
    """A column that has changed since apply: the error counts the rows of all partitions, as in one process."""
    for isolation in ("thread", "process"):
        repository = Repository(folder / f"fail-{isolation}", store, "packed")
        repository.use(isolation)
        for path in (repository.folder / "trips").iterdir():
            path.unlink()
        lines = [f"{user},{2.5 if user in (3, 5, 60) else user},n,2026-01-06T00:00:00Z" for user in range(1, USERS)]
        (repository.folder / "trips/1.csv").write_text("driver_id,fare,note,event_timestamp\n" + "\n".join(lines) + "\n")
        fail("-c", repository.folder, "materialize", *INTERVAL, "--views", "window", code=USER,
             says=("3 rows cannot be written", "driver_id = 60"))


def main():
    with temporary_folder() as folder:
        sqlite = SqliteStore()
        sqlite.password = ""
        check_store(folder / "sqlite", sqlite, "packed")
        check_rows_that_fail(folder, sqlite)
        with Postgres() as server:
            postgres = PostgresStore(server)
            postgres.password = server.password
            check_store(folder / "postgres", postgres, "packed")
        with Redis() as server:
            redis = RedisStore(server)
            redis.password = ""
            check_store(folder / "redis", redis, "feast")


main()
