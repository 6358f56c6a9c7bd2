"""One point-in-time join by one of the other engines, in a process of its own. Prints the seconds after its imports.

usage: engine.py ENGINE FOLDER SHAPE OUT        ENGINE: duckdb, polars, polars_streaming, read_write
"""

import json
import pathlib
import sys
import time
from datetime import timedelta

import data


def duckdb(shape: data.Shape, folder: pathlib.Path, out: str) -> float:
    import duckdb as engine

    start = time.perf_counter()
    columns, joins = [f"l.{name}" for name in ["label_id", *shape.by, "event_timestamp", "label"]], ""
    for table in range(shape.tables):
        same = " AND ".join(f"l.{key} = f{table}.{key}" for key in shape.by)
        joins += (
            f" ASOF LEFT JOIN '{folder}/F_{table}.parquet' f{table}"
            f" ON {same} AND l.event_timestamp >= f{table}.event_timestamp"
        )
        fresh = f"f{table}.event_timestamp >= l.event_timestamp - INTERVAL {data.TOLERANCE_DAYS} DAY"
        for i in range(data.FEATURES):
            columns.append(f"CASE WHEN {fresh} THEN f{table}.f{table}_{i} END AS f{table}_{i}")
    connection = engine.connect()
    if shape.memory_limit:
        connection.execute(f"SET memory_limit = '{shape.memory_limit}'")
    connection.execute(
        f"COPY (SELECT {', '.join(columns)} FROM '{folder}/labels.parquet' l{joins}) TO '{out}'"
        f" (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {data.ROW_GROUP})"
    )
    return time.perf_counter() - start


def polars(shape: data.Shape, folder: pathlib.Path, out: str, streaming: bool = False) -> float:
    import polars as engine

    start = time.perf_counter()
    query = engine.scan_parquet(f"{folder}/labels.parquet").sort("event_timestamp")
    for table in range(shape.tables):
        query = query.join_asof(
            engine.scan_parquet(f"{folder}/F_{table}.parquet").sort("event_timestamp"),
            on="event_timestamp",
            by=shape.by,
            strategy="backward",
            tolerance=timedelta(days=data.TOLERANCE_DAYS),
            check_sortedness=False,
        )
    if streaming:
        query.sink_parquet(out, compression="snappy", row_group_size=data.ROW_GROUP, engine="streaming")
    else:
        query.collect().write_parquet(out, compression="snappy", row_group_size=data.ROW_GROUP)
    return time.perf_counter() - start


def read_write(shape: data.Shape, folder: pathlib.Path, out: str) -> float:
    """No join: reads the inputs and writes a table of the output's size."""
    import pyarrow.parquet as parquet

    start = time.perf_counter()
    result = parquet.read_table(folder / "labels.parquet")
    for table in range(shape.tables):
        rows = parquet.read_table(folder / f"F_{table}.parquet")
        for i in range(data.FEATURES):
            result = result.append_column(f"f{table}_{i}", rows[f"f{table}_{i}"].slice(0, result.num_rows))
    parquet.write_table(result, out, compression="snappy", row_group_size=data.ROW_GROUP)
    return time.perf_counter() - start


def main() -> None:
    engine, folder, name, out = sys.argv[1:]
    shape, folder = data.SHAPES[name], pathlib.Path(folder)
    if engine == "polars_streaming":
        seconds = polars(shape, folder, out, streaming=True)
    else:
        seconds = {"duckdb": duckdb, "polars": polars, "read_write": read_write}[engine](shape, folder, out)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
