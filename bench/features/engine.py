"""The same work by others, in a process of its own. Prints the seconds after its imports.

usage: engine.py windows|latest|sqlite FOLDER OUT
"""

import json
import pathlib
import sys
import time

import data

SQL = {"count": "count", "sum": "sum", "mean": "avg", "max": "max", "min": "min", "std": "stddev_samp"}


def windows(folder: pathlib.Path, out: str) -> float:
    """Events and labels in one relation, a window function for each aggregate."""
    import duckdb

    start = time.perf_counter()
    columns, frames = [], {}
    for function, column, days, name in data.WINDOWS:
        frames[days] = (
            f"w{days} AS (PARTITION BY customer ORDER BY event_timestamp"
            f" RANGE BETWEEN INTERVAL '{days * 86_400_000_000 - 1} microseconds' PRECEDING AND CURRENT ROW)"
        )
        columns.append(f"{SQL[function]}({column}) OVER w{days} AS {name}")
    duckdb.connect().execute(
        f"COPY (SELECT * FROM (SELECT label_id, customer, event_timestamp, {', '.join(columns)} FROM ("
        f" SELECT NULL AS label_id, customer, event_timestamp, amount FROM '{folder}/events.parquet' UNION ALL"
        f" SELECT label_id, customer, event_timestamp, NULL AS amount FROM '{folder}/labels.parquet')"
        f" WINDOW {', '.join(frames.values())}) WHERE label_id IS NOT NULL) TO '{out}' (FORMAT parquet)"
    )
    return time.perf_counter() - start


def latest(folder: pathlib.Path, out: str) -> float:
    """The newest row of each customer, to Parquet: no store is written."""
    import duckdb

    start = time.perf_counter()
    columns = ", ".join(f"arg_max(f{i}, event_timestamp) AS f{i}" for i in range(10))
    duckdb.connect().execute(
        f"COPY (SELECT customer, {columns} FROM '{folder}/events.parquet' GROUP BY customer) TO '{out}' (FORMAT parquet)"
    )
    return time.perf_counter() - start


def sqlite(folder: pathlib.Path, out: str) -> float:
    """As many rows of as many bytes by a bare executemany in one transaction."""
    import sqlite3

    rows = int(data.MILLION * float(folder.name.split("_")[1]))
    start = time.perf_counter()
    store = sqlite3.connect(out)
    store.execute("PRAGMA journal_mode = wal")
    store.execute("PRAGMA synchronous = normal")
    store.execute("CREATE TABLE packed (key BLOB PRIMARY KEY, event INTEGER, created INTEGER, value BLOB) WITHOUT ROWID")
    value = bytes(83)
    store.executemany(
        "INSERT INTO packed VALUES (?, ?, NULL, ?)", ((i.to_bytes(24, "big"), i, value) for i in range(rows))
    )
    store.commit()
    return time.perf_counter() - start


if __name__ == "__main__":
    work, folder, out = sys.argv[1:]
    print(json.dumps({"seconds": {"windows": windows, "latest": latest, "sqlite": sqlite}[work](pathlib.Path(folder), out)}))
