#!/usr/bin/env python3
"""How fast a PostgreSQL table is read as a data source, beside psycopg's COPY of the same table: bench_postgres.py GNOMON

Gnomon's time is that of a whole `get-historical-features` for one entity row (start of the program, describing, COPY,
decoding to Arrow, hashing and ordering, the join); psycopg's is that of COPY alone, as bytes that nobody looks at, and as
Python rows. Medians of interleaved rounds on one server. The answer is compared with SQL's.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import psycopg

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "integration"))

from program import run, temporary_folder  # noqa: E402
from services import Postgres  # noqa: E402

FEATURES = [f"f{i}" for i in range(10)]


def fill(postgres, rows: int) -> None:
    columns = ", ".join(f"random() AS {name}" for name in FEATURES)
    postgres.sql(f"CREATE TABLE events AS SELECT (g % 10000)::int8 AS id, '2024-01-01'::timestamptz + g * interval "
                 f"'1 second' AS at, {columns} FROM generate_series(1, {rows}) g")
    postgres.sql("VACUUM ANALYZE events")


def make_repository(folder, postgres) -> None:
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nregistry: registry.db\noffline_store: {{type: postgres, {postgres.yaml}}}\n")
    schema = ", ".join(f"{{name: {name}, dtype: Float64}}" for name in FEATURES)
    (folder / "features.yaml").write_text(
        "entities: [{name: thing, join_keys: [id], value_type: INT64}]\n"
        "data_sources: [{name: events, type: postgres, table: events, timestamp_field: at}]\n"
        f"feature_views: [{{name: view, entities: [thing], source: events, schema: [{schema}]}}]\n")
    (folder / "entities.csv").write_text("id,event_timestamp\n77,2030-01-01T00:00:00Z\n")
    run("-c", folder, "apply")


def read_by_gnomon(folder):
    run("-c", folder, "get-historical-features", "-f", "view:*", "-d", folder / "entities.csv", "-o", folder / "out.jsonl")
    return [json.loads((folder / "out.jsonl").read_text())[name] for name in FEATURES]


def copy_bytes(connection) -> int:
    with connection.cursor().copy("COPY events TO STDOUT (FORMAT binary)") as copy:
        return sum(len(piece) for piece in copy)


def copy_rows(connection) -> int:
    with connection.cursor().copy("COPY events TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int8", "timestamptz"] + ["float8"] * len(FEATURES))
        return sum(1 for _ in copy.rows())


def timed(call, *arguments):
    begin = time.perf_counter()
    answer = call(*arguments)
    return time.perf_counter() - begin, answer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gnomon")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    with temporary_folder() as folder, Postgres() as postgres:
        fill(postgres, flags.rows)
        make_repository(folder, postgres)
        expected = [float(text) for text in postgres.sql(
            f"SELECT {', '.join(FEATURES)} FROM events WHERE id = 77 ORDER BY at DESC LIMIT 1").strip().split("|")]
        spent = {"gnomon get-historical-features": [], "psycopg COPY, bytes": [], "psycopg COPY, rows": []}
        with psycopg.connect(postgres.url) as connection:
            for _ in range(flags.rounds):
                taken, answer = timed(read_by_gnomon, folder)
                assert answer == expected, (answer, expected)
                spent["gnomon get-historical-features"].append(taken)
                spent["psycopg COPY, bytes"].append(timed(copy_bytes, connection)[0])
                taken, rows = timed(copy_rows, connection)
                assert rows == flags.rows, rows
                spent["psycopg COPY, rows"].append(taken)
    for what, times in spent.items():
        median = statistics.median(times)
        print(f"{what:32} {median:7.2f} s  {flags.rows / median / 1e6:6.2f} million rows/s")


if __name__ == "__main__":
    main()
