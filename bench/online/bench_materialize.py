"""`gnomon materialize` beside Feast's, from the same Parquet rows into each store, on servers of their own.

usage: bench_materialize.py GNOMON [--rows 1000000] [--feast-rows 100000] [--stores sqlite,postgres,redis]

Runs in .venv-feast. 10 Float64 features, one row per entity. Feast (file offline store, its default engine) gets the first
--feast-rows of the rows: its rate does not grow with them. Its imports and `apply` are not counted; Gnomon's figure is the
whole command. CPU is the client's: the process and its children, not the database server. Keys are read back by both, and
those that Gnomon wrote in layout feast by Feast, too; exits 1 when an answer is wrong.
"""

import argparse
import contextlib
import datetime
import io
import json
import logging
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import warnings

HERE = pathlib.Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2] / "tests/integration"), str(HERE.parents[1] / "asof")]

import measure  # noqa: E402
from services import Postgres, Redis  # noqa: E402

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
END = START + datetime.timedelta(days=1)
FEATURES = [f"f{i}" for i in range(10)]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("gnomon", type=pathlib.Path)
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--feast-rows", type=int, default=100_000)
parser.add_argument("--stores", default="sqlite,postgres,redis")
OPTIONS = parser.parse_args()

DEFINITIONS = """entities: [{name: driver, join_keys: [driver_id], value_type: INT64}]
data_sources: [{name: rows, type: file, path: rows.parquet, timestamp_field: event_timestamp}]
feature_views:
  - name: stats
    entities: [driver]
    ttl: 0
    source: rows
    schema: [%s]
""" % ", ".join(f"{{name: {name}, dtype: Float64}}" for name in FEATURES)


def write_rows(path: pathlib.Path, count: int) -> None:
    import pyarrow
    import pyarrow.parquet

    keys = pyarrow.array(range(count), pyarrow.int64())
    times = [START + datetime.timedelta(seconds=key % 86_400) for key in range(count)]
    columns = {"driver_id": keys, "event_timestamp": pyarrow.array(times, pyarrow.timestamp("us", "UTC"))}
    for i, name in enumerate(FEATURES):
        columns[name] = pyarrow.array([key + i / 16 for key in range(count)], pyarrow.float64())
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def some_keys(count: int) -> list[int]:
    return [(i * 7919 + 13) % count for i in range(50)]


def check(who: str, answer: dict, keys: list[int]) -> None:
    for i, name in enumerate(FEATURES):
        if answer[name] != [key + i / 16 for key in keys]:
            sys.exit(f"wrong answer: {who}, {name}: {answer[name][:5]}")


def feast_store(folder: pathlib.Path, online: str, source: pathlib.Path):
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.types import Float64
    from feast.value_type import ValueType

    folder.mkdir()
    (folder / "feature_store.yaml").write_text("project: bench\nprovider: local\nregistry: feast_registry.db\n"
                                               f"online_store: {{{online}}}\nentity_key_serialization_version: 3\n")
    store = FeatureStore(repo_path=str(folder))
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    rows = FileSource(name="rows", path=str(source), timestamp_field="event_timestamp")
    store.apply([driver, FeatureView(name="stats", entities=[driver], source=rows, ttl=datetime.timedelta(0),
                                     schema=[Field(name=name, dtype=Float64) for name in FEATURES])])
    return store


def feast_read(store, keys: list[int]) -> dict:
    return store.get_online_features(features=[f"stats:{name}" for name in FEATURES],
                                     entity_rows=[{"driver_id": key} for key in keys]).to_dict()


def cpu() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF,
                                                                                     resource.RUSAGE_CHILDREN)))


def run_feast(folder: pathlib.Path, online: str, source: pathlib.Path) -> tuple[float, float]:
    store = feast_store(folder, online, source)
    begin, begin_cpu = time.perf_counter(), cpu()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        store.materialize(START, END)
    wall, used = time.perf_counter() - begin, cpu() - begin_cpu
    keys = some_keys(OPTIONS.feast_rows)
    check("feast", feast_read(store, keys), keys)
    return wall / OPTIONS.feast_rows, used / OPTIONS.feast_rows


def run_gnomon(folder: pathlib.Path, online: str, layout: str, source: pathlib.Path) -> tuple[float, float]:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text("project: bench\nprovider: local\nregistry: registry.db\n"
                                               f"online_store: {{{online}, layout: {layout}}}\n"
                                               "entity_key_serialization_version: 3\n")
    (folder / "features.yaml").write_text(DEFINITIONS)
    (folder / "rows.parquet").symlink_to(source)
    program = [str(OPTIONS.gnomon.resolve()), "-c", str(folder)]
    measure.run([*program, "apply"])
    cost = measure.run([*program, "materialize", START.isoformat(), END.isoformat()])
    keys = some_keys(OPTIONS.rows)
    answer = json.loads(subprocess.run(
        [*program, "get-online-features", "--json", "-f", "stats:*", "-e", json.dumps({"driver_id": keys})], check=True,
        stdout=subprocess.PIPE, text=True).stdout)
    names = answer["metadata"]["feature_names"]
    check("gnomon", {name: answer["results"][names.index(name)]["values"] for name in FEATURES}, keys)
    return cost.wall / OPTIONS.rows, cost.cpu / OPTIONS.rows


def line(name: str, layout: str, cost: tuple[float, float]) -> str:
    return f"{name:10}{layout:8}{1 / cost[0]:>10.0f}{cost[1] * 1e6:>12.2f}"


def main() -> None:
    print(f"10 features; gnomon {OPTIONS.rows} rows, feast {OPTIONS.feast_rows}")
    print(f"{'store':10}{'by':8}{'rows/s':>10}{'cpu us/row':>12}{'of feast: rows/s':>18}{'cpu':>8}")
    with tempfile.TemporaryDirectory(prefix="gnomon-bench") as temporary, contextlib.ExitStack() as servers:
        folder = pathlib.Path(temporary)
        rows, first = folder / "rows.parquet", folder / "first.parquet"
        write_rows(rows, OPTIONS.rows)
        write_rows(first, OPTIONS.feast_rows)
        for store in OPTIONS.stores.split(","):
            if store == "sqlite":
                place = "type: sqlite, path: {path}"
            elif store == "postgres":
                place = f"type: postgres, {servers.enter_context(Postgres()).yaml}, sslmode: disable, db_schema: {{name}}"
            else:
                place = f"type: redis, connection_string: '{servers.enter_context(Redis()).address},db={{number}}'"

            def online(name: str, number: int) -> str:
                return place.format(path=folder / f"{store}_{name}.db", name=name, number=number)

            feast = run_feast(folder / f"{store}_by_feast", online("by_feast", 0), first)
            print(line(store, "feast", feast), flush=True)
            for number, layout in enumerate(("packed", "feast"), 1):
                ours = run_gnomon(folder / f"{store}_{layout}", online(layout, number), layout, rows)
                print(line("", layout, ours) + f"{feast[0] / ours[0]:>18.1f}{feast[1] / ours[1]:>8.1f}", flush=True)
            # The table is there already: Feast's `apply` leaves it as it is.
            reader = feast_store(folder / f"{store}_reader", online("feast", 2), rows)
            keys = some_keys(OPTIONS.rows)
            check("feast of what gnomon wrote", feast_read(reader, keys), keys)


if __name__ == "__main__":
    os.environ["FEAST_USAGE"] = "False"
    main()
