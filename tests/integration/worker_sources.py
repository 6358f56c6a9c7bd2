#!/usr/bin/env python3
"""Sources that are no files of this machine are read by worker processes: worker_sources.py GNOMON

Events on S3 (moto) and in PostgreSQL: the training table has the same bytes in one process and in workers, also when one
of them is killed while it reads, and when the table changes meanwhile. The explanation lists the stages. Keys and
passwords that stand in feature_store.yaml reach the workers, and nobody sees them in arguments or environments. Events in
SQLite too, with either journal; when the database changes meanwhile the retrieval ends with a conflict.
"""

import datetime
import io
import json
import os
import pathlib
import random
import sqlite3

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from killed_worker import run_with_a_killed_worker
from program import run, temporary_folder
from services import S3, Postgres

SECRET = "a-secret-that-nobody-may-see"
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
LOCAL = "path: events"

FEATURES = """\
entities:
  - {name: user, join_keys: [user], value_type: INT64}
data_sources:
  - name: clicks
    SOURCE
    timestamp_field: ts
    created_timestamp_column: made
feature_views:
  - name: newest
    entities: [user]
    source: clicks
    ttl: 3d
    transformations: {twice: seconds * 2}
    filter: seconds > 5
    schema: [{name: page, dtype: String}, {name: twice, dtype: Int64}]
  - name: windows
    entities: [user]
    source: clicks
    aggregations:
      - {column: seconds, function: sum, name: total, time_window: 1d}
      - {column: page, function: last_k, k: 3, name: pages, time_window: 2d}
feature_services:
  - {name: all, features: [newest, windows]}
"""


def events(rows: int) -> pyarrow.Table:
    """Few users and few times, so that ties decide."""
    rng = random.Random(1)
    moment = lambda: START + datetime.timedelta(hours=rng.randrange(10 * 24))
    return pyarrow.table({
        "user": pyarrow.array([rng.randrange(20) if rng.random() > 0.02 else None for _ in range(rows)], pyarrow.int64()),
        "ts": pyarrow.array([moment() for _ in range(rows)], pyarrow.timestamp("us", "UTC")),
        "made": pyarrow.array([moment() for _ in range(rows)], pyarrow.timestamp("us", "UTC")),
        "page": [rng.choice(["home", "cart", "help", None]) for _ in range(rows)],
        "seconds": pyarrow.array([rng.randrange(100) for _ in range(rows)], pyarrow.int64()),
    })


def write_labels(path: pathlib.Path, rows: int) -> None:
    rng = random.Random(9)
    lines = ["user,event_timestamp"]
    for _ in range(rows):
        when = START + datetime.timedelta(seconds=rng.randrange(12 * 86400))
        lines.append(f"{rng.randrange(22)},{when.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    path.write_text("\n".join(lines) + "\n")


class Repository:
    """Definitions over one source, retrieved with either isolation."""

    def __init__(self, folder: pathlib.Path, source: str, settings: str = ""):
        self.folder, self.settings = folder, settings
        folder.mkdir(exist_ok=True)
        (folder / "features.yaml").write_text(FEATURES.replace("SOURCE", source))
        self.use("thread")
        run("-c", folder, "apply")

    def use(self, isolation: str, **settings) -> None:
        more = "".join(f", {name}: {value}" for name, value in settings.items())
        (self.folder / "feature_store.yaml").write_text(
            "project: workers\nregistry: registry.db\nprovider: local\nonline_store: {type: sqlite, path: online.db}\n"
            f"batch_engine: {{type: local, isolation: {isolation}, max_workers: 2{more}}}\n{self.settings}")

    def command(self, out: str, *more) -> list:
        return ["-c", self.folder, "get-historical-features", "-d", self.folder.parent / "labels.csv",
                "--feature-service", "all", "-o", self.folder / out, *more]

    def rows(self, isolation: str, **settings) -> bytes:
        self.use(isolation, **settings)
        run(*self.command(f"{isolation}.parquet"))
        return (self.folder / f"{isolation}.parquet").read_bytes()

    def explained(self) -> str:
        return run("-c", self.folder, "get-historical-features", "-d", self.folder.parent / "labels.csv",
                   "--feature-service", "all", "--explain")


def seen_of(process: int) -> bytes:
    folder = pathlib.Path(f"/proc/{process}")
    return (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()


def check_in_workers(repository: Repository, expected: bytes, fault: str, secrets: list, change=None) -> None:
    """The bytes are those of one process, whatever the settings are and whoever dies. `change` is called while the
    workers read."""
    assert repository.rows("thread") == expected, repository.folder
    assert repository.rows("process") == expected, repository.folder
    # The join by shuffles instead of one that hands the events to everybody.
    assert repository.rows("process", enable_optimization="false", max_parallelism_multiplier=3) == expected
    explained = repository.explained()
    for text in ("stages in 2 worker processes", "stage 0", "asof_join", "window_aggregate"):
        assert text in explained, explained

    def look(worker: int) -> None:
        for secret in secrets:
            assert secret.encode() not in seen_of(worker), "the worker shows a secret"
        if change is not None:
            change()

    run_with_a_killed_worker(repository.command("killed.parquet"), fault, look)
    assert (repository.folder / "killed.parquet").read_bytes() == expected
    for secret in secrets:
        assert secret not in explained


def check_s3(folder: pathlib.Path, expected: bytes, s3: S3) -> None:
    for path in (folder / "local/events").iterdir():
        s3.put(f"events/{path.name}", path.read_bytes())
    for name in list(os.environ):
        if name.startswith(("AWS_", "MINIO_")):
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    settings = f"s3: {{endpoint_url: '{s3.endpoint}', access_key_id: test, secret_access_key: {SECRET}}}\n"
    repository = Repository(folder / "s3", f"path: s3://{s3.bucket}/events", settings)
    check_in_workers(repository, expected, "file.before_scan", [SECRET])


def check_postgres(folder: pathlib.Path, rows: pyarrow.Table, postgres: Postgres) -> None:
    """One row on each page, so that the table is read in two ranges."""
    text = io.BytesIO()
    pyarrow.csv.write_csv(rows, text)
    (postgres.folder / "clicks.csv").write_bytes(text.getvalue())
    postgres.sql('CREATE TABLE given ("user" int8, ts timestamptz, made timestamptz, page text, seconds int8)')
    with open(postgres.folder / "clicks.csv") as lines:
        postgres.sql("COPY given FROM STDIN (FORMAT csv, HEADER)", stdin=lines)
    postgres.sql("CREATE TABLE clicks (LIKE given, pad text); ALTER TABLE clicks ALTER pad SET STORAGE PLAIN; "
                 "INSERT INTO clicks SELECT *, repeat('x', 7000) FROM given ORDER BY random(); ANALYZE clicks")
    settings = f"offline_store: {{type: postgres, {postgres.yaml}}}\n"
    change = lambda: postgres.sql("DELETE FROM clicks WHERE seconds > 50; UPDATE clicks SET seconds = 77")
    for name, source in (("table", "type: postgres\n    table: clicks"),
                         ("query", "type: postgres\n    query: SELECT * FROM given WHERE seconds < 90")):
        repository = Repository(folder / name, source, settings)
        expected = repository.rows("thread")
        check_in_workers(repository, expected, "database.in_part", [postgres.password],
                         change if name == "table" else None)
    assert (folder / "table/killed.parquet").read_bytes() != Repository(folder / "table", "type: postgres\n    table: "
                                                                        "clicks", settings).rows("thread")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    assert postgres.sql(waiting).strip() == "0", "a snapshot is still held"


def check_sqlite(folder: pathlib.Path, rows: pyarrow.Table, journal: str) -> None:
    folder.mkdir()
    text = lambda time: time and time.strftime("%Y-%m-%d %H:%M:%S")
    database = sqlite3.connect(folder / "clicks.db")
    database.execute(f"PRAGMA journal_mode = {journal}")
    with database:
        database.execute("CREATE TABLE clicks (user INTEGER, ts TIMESTAMP, made TIMESTAMP, page TEXT, seconds INTEGER)")
        database.executemany("INSERT INTO clicks VALUES (?, ?, ?, ?, ?)",
                             [(row["user"], text(row["ts"]), text(row["made"]), row["page"], row["seconds"])
                              for row in rows.to_pylist()])
    database.close()
    repository = Repository(folder, "type: sqlite\n    path: clicks.db\n    table: clicks")
    expected = repository.rows("thread")
    check_in_workers(repository, expected, "database.in_part", [])

    def change(_worker: int) -> None:
        with sqlite3.connect(folder / "clicks.db") as writer:
            writer.execute("UPDATE clicks SET seconds = seconds + 1 WHERE user = 3")
        writer.close()

    if journal == "wal":  # with the other one nobody can write while somebody reads
        said = run_with_a_killed_worker(repository.command("changed.parquet"), "database.in_part", change, code=4)
        assert "the database was written while it was read" in said and "start again" in said, said
        assert not (folder / "changed.parquet").exists()
    else:
        change(0)
    assert repository.rows("process") == repository.rows("thread") != expected
    repository.use("process")
    told = json.loads(run(*repository.command("told.parquet", "--stats", "--json")))
    assert told["source_rows"] == told["scans"] * rows.num_rows and told["scans"] == 2, told
    assert [each["rows"] for each in told["operators"] if each["name"] == "external"] == [rows.num_rows] * 2, told
    assert all(stage["tasks"] > 0 for stage in told["stages"]), told
    shown = run(*repository.command("told.parquet", "--stats"))
    assert "external: " in shown and "\nstage 0 " in shown, shown


def main():
    with temporary_folder() as folder:
        (folder / "local/events").mkdir(parents=True)
        rows = events(3000)
        pyarrow.parquet.write_table(rows.slice(0, 2000), folder / "local/events/a.parquet", row_group_size=300)
        pyarrow.parquet.write_table(rows.slice(2000), folder / "local/events/b.parquet")
        write_labels(folder / "labels.csv", 800)
        expected = Repository(folder / "local", LOCAL).rows("thread")
        for journal in ("wal", "delete"):
            check_sqlite(folder / journal, rows, journal)
        with Postgres() as postgres:
            check_postgres(folder, rows, postgres)
        with S3() as s3:
            check_s3(folder, expected, s3)


main()
