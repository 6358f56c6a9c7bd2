"""Online stores: writes and in-process reads beside bare clients and beside Feast, on servers of their own.

usage: bench_online.py ONLINE_BENCH [--rows 1000000] [--rounds 2000] [--feast-rows 2000] [--feast-reads 20]

Runs in .venv-feast. 10 Float64 features; medians. Every answer is checked. `bare` is a minimal sqlite3, hiredis or libpq loop that
reads the same bytes in the same process; below it stand the CPU of one read in this process beside the bare loop's (without the
server's), and reads with `cache_size_mb`: of rows that the cache has, and of rows that it has to fetch. Feast writes fewer rows (its rate does not depend on how many) and reads by
get_online_features; its imports are not counted. On a busy machine look at CPU seconds and ratios.
"""

import argparse
import datetime
import json
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/integration"))

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--rounds", type=int, default=2000)
parser.add_argument("--feast-rows", type=int, default=2000)
parser.add_argument("--feast-reads", type=int, default=20)
OPTIONS = parser.parse_args()

from services import Postgres, Redis  # noqa: E402

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
FEATURES = [f"f{i}" for i in range(10)]


def run(type_: str, layout: str, place: str, environment=None) -> dict:
    done = subprocess.run([OPTIONS.program, type_, layout, place, str(OPTIONS.rows), str(OPTIONS.rounds)],
                          env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def run_feast(folder: pathlib.Path, online: str) -> dict:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.protos.feast.types import EntityKey_pb2, Value_pb2
    from feast.types import Float64
    from feast.value_type import ValueType

    folder.mkdir()
    (folder / "feature_store.yaml").write_text(f"project: feast\nprovider: local\nregistry: r.db\nonline_store: {{{online}}}\n"
                                               "entity_key_serialization_version: 3\n")
    (folder / "none.parquet").touch()
    store = FeatureStore(repo_path=str(folder))
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    source = FileSource(name="none", path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name="stats", entities=[driver], source=source, ttl=datetime.timedelta(0),
                       schema=[Field(name=name, dtype=Float64) for name in FEATURES])
    store.registry.apply_entity(driver, "feast")
    store.registry.apply_feature_view(view, "feast")
    provider = store._get_provider()
    provider.update_infra("feast", [], [view], [], [driver], False)
    rows = [(EntityKey_pb2.EntityKey(join_keys=["driver_id"], entity_values=[Value_pb2.Value(int64_val=key)]),
             {name: Value_pb2.Value(double_val=key + i / 16) for i, name in enumerate(FEATURES)}, NOON, NOON)
            for key in range(OPTIONS.feast_rows)]
    begin = time.perf_counter()
    provider.online_write_batch(store.config, view, rows, None)
    result = {"rows_per_second": len(rows) / (time.perf_counter() - begin), "reads": {}}
    for count in (1, 10, 100, 1000):
        times = []
        keys = [(key * 7919) % OPTIONS.feast_rows for key in range(min(count, OPTIONS.feast_rows))]
        for _ in range(max(3, OPTIONS.feast_reads // count)):
            begin = time.perf_counter()
            answer = store.get_online_features(features=[f"stats:{name}" for name in FEATURES],
                                               entity_rows=[{"driver_id": key} for key in keys]).to_dict()
            times.append((time.perf_counter() - begin) * 1e6)
            assert answer["f9"] == [key + 9 / 16 for key in keys]
        result["reads"][count] = statistics.median(times)
    return result


def main() -> None:
    print(f"{OPTIONS.rows} rows of 10 features; reads: median microseconds")
    print(f"{'store':10}{'layout':8}{'rows/s':>10}{'cpu s':>8}" +
          "".join(f"{count:>9} {'bare':>8} {'feast':>9}" for count in (1, 10, 100, 1000)))
    with tempfile.TemporaryDirectory(prefix="gnomon-bench") as temporary, Postgres() as postgres, Redis() as redis:
        folder = pathlib.Path(temporary)
        places = {"sqlite": (lambda layout: str(folder / f"{layout}.db"), "type: sqlite, path: online.db", None),
                  "postgres": (lambda layout: str(postgres.port), f"type: postgres, {postgres.yaml}, sslmode: disable",
                               postgres.environment),
                  "redis": (lambda layout: redis.address, f"type: redis, connection_string: '{redis.address}'", None)}
        for type_, (place, online, environment) in places.items():
            feast = run_feast(folder / f"feast_{type_}", online)
            for layout in ("packed", "feast"):
                if type_ == "postgres":
                    postgres.sql("DROP SCHEMA IF EXISTS bench CASCADE; CREATE SCHEMA bench")
                result = run(type_, layout, place(layout), environment)
                line = f"{type_:10}{layout:8}{result['rows'] / result['write_wall']:>10.0f}{result['write_cpu']:>8.2f}"
                for read in result["reads"]:
                    line += f"{read['gnomon_us']:>9.1f} {read['bare_us']:>8.1f} {feast['reads'][read['entities']]:>9.0f}"
                print(line, flush=True)
                print("  cpu us " + "".join(f"{read['gnomon_cpu_us']:>9.1f} {read['bare_cpu_us']:>8.1f}" for read in result["reads"]))
                print("  cached " + "".join(f"{read['cached_us']:>9.1f} {read['missed_us']:>8.1f}" for read in result["reads"]),
                      flush=True)
                if "bare_write_cpu" in result:
                    print(f"  a bare sqlite3 loop wrote the same in {result['bare_write_cpu']:.2f} s CPU: "
                          f"{result['write_cpu'] / result['bare_write_cpu']:.2f}x")
            print(f"  feast wrote {feast['rows_per_second']:.0f} rows/s")


main()
