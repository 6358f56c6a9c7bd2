#!/usr/bin/env python3
"""Sources whose columns stand in the names of folders (hive partitions): partition_folders.py GNOMON

Joined by `gnomon asof`, retrieved in this process and in worker processes, compared with a join by brute force.
"""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from odd_data import STORE, Join, brute_force, times
from program import USER, Server, fail, run, temporary_folder

PROCESSES = "batch_engine: {type: local, isolation: process, max_workers: 2}\n"


def check_features(folder: pathlib.Path) -> None:
    """They are features, and filters see them."""
    labels = pa.table({"id": [1, 2, 3, 1], "ts": times([1, 9, 9, 9])})
    join = Join(folder / "folders", labels, [], {"x": "Int64", "region": "String", "day": "Int64"})
    parts = []
    for place, (day, region) in enumerate([(1, "eu"), (1, "us%2Fwest"), (2, "__HIVE_DEFAULT_PARTITION__"), (2, "eu")]):
        path = join.source / f"day={day}" / f"region={region}" / "part.parquet"
        path.parent.mkdir(parents=True)
        rows = pa.table({"id": [1, 2, 3 + place % 2], "ts": times([place, place, place]), "x": [place * 10, None, 1]})
        pq.write_table(rows, path)
        name = None if "HIVE" in region else region.replace("%2F", "/")
        parts.append(rows.append_column("region", pa.array([name] * 3, pa.string())).append_column("day", pa.array([day] * 3)))
    whole = pa.concat_tables(parts)
    join.require(brute_force(labels, whole, join.names))
    definitions = (join.folder / "features.yaml").read_text()
    for store, filter_, rows in (("", "day = 1 and region != 'eu'", parts[1]), (PROCESSES, "day > 0", whole),
                                 (PROCESSES, "region = 'eu'", pa.concat_tables([parts[0], parts[3]]))):
        (join.folder / "feature_store.yaml").write_text(STORE + store)
        (join.folder / "features.yaml").write_text(f"{definitions}    filter: {filter_}\n")
        join.require(brute_force(labels, rows, join.names), asof=False)
    assert join.online(1)["region"] == "eu"
    pq.write_table(parts[0].drop_columns(["region", "day"]), join.source / "stray.parquet")
    for command in (join.asof, ["-c", join.folder, "apply"], join.retrieval):
        fail(*command, code=USER, says=["different partition columns", "stray.parquet"])


def check_keys(folder: pathlib.Path) -> None:
    """They are join keys, and what is left out of a schema."""
    labels = pa.table({"id": [1, 2, 3, 2], "ts": times([9, 9, 9, 0])})
    join = Join(folder / "keys", labels, [], {"x": "Int64"})
    parts = []
    for key in (1, 2):
        path = join.source / f"id={key}" / "part.parquet"
        path.parent.mkdir()
        rows = pa.table({"ts": times([1, 2]), "x": [key, key * 10]})
        pq.write_table(rows, path)
        parts.append(rows.append_column("id", pa.array([key] * 2)))
    expected = brute_force(labels, pa.concat_tables(parts), ["x"])
    for store in ("", PROCESSES):
        (join.folder / "feature_store.yaml").write_text(STORE + store)
        join.require(expected)
    assert join.online(2) == {"x": 20}


def check_sink(folder: pathlib.Path) -> None:
    """Rows without a column of the folders would lie in no partition; with it they lie in theirs."""
    rows = pa.table({"id": [1], "ts": times([1]), "x": [1]})
    join = Join(folder / "sink", pa.table({"id": [1], "ts": times([9])}), rows, {"x": "Int64"})
    path = join.folder / "kept" / "day=1" / "part.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(rows, path)
    definitions = join.folder / "features.yaml"
    text = definitions.read_text() + "    sink_source: kept\n"
    definitions.write_text(text.replace(
        "data_sources:\n", "data_sources:\n  - {name: kept, type: file, path: kept, timestamp_field: ts}\n"))
    run("-c", join.folder, "apply")
    fail("-c", join.folder, "materialize", "2026-01-01", "2026-02-01", code=USER,
         says=["data source 'kept'", "have no column 'day'"])
    assert [file.name for file in (join.folder / "kept").iterdir()] == ["day=1"]

    labels = pa.table({"id": [1, 2, 3], "ts": times([9, 9, 9])})
    join = Join(folder / "pushed", labels, [], {"x": "Int64", "day": "Int64"})
    path = join.source / "day=1" / "part.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"id": [1], "ts": times([1]), "x": [1]}), path)
    run("-c", join.folder, "apply")
    rows = {"id": [2, 3], "ts": ["2026-01-03T00:00:00Z"] * 2, "x": [5, 6], "day": [1, 2]}
    with Server(join.folder, "serve") as server:
        status, told = server.request("POST", "/push", {"push_source_name": "view", "df": rows, "to": "offline"})
        assert status == 200, told
        del rows["day"]
        status, told = server.request("POST", "/push", {"push_source_name": "view", "df": rows, "to": "offline"})
        assert status == 400 and "have no column 'day'" in told, (status, told)
    join.require([[1, 1], [5, 1], [6, 2]])
    assert sorted(file.name for file in join.source.iterdir()) == ["day=1", "day=2"]


def main() -> None:
    with temporary_folder() as folder:
        for check in (check_features, check_keys, check_sink):
            check(folder)
    print("values in the names of folders are columns")


if __name__ == "__main__":
    main()
