"""Historical features beside Feast: every row of a sales table asks two views for their values at its time.

usage: bench_feast.py GNOMON [--runs 3] [--weeks 52] [--data build/bench/features]     (in .venv-feast)

143 stores x 81 departments x 52 weeks (602,316 rows), a view of six features by store and department and one of four by
store, ttl 7 days. Feast 0.67 with its file (dask) store, a fresh process each time; its wall and CPU time are
counted after its imports and the opening of the store, ours from the start of the process, files written included. The
results are compared value by value; exits 1 when they differ, or, with --bars, when Feast is less than 50 times slower
(DESIGN.md section 8).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time
from datetime import timedelta

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "asof"))

import measure  # noqa: E402
import numpy  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402

STORES, DEPARTMENTS = 143, 81
WEEK = 7 * 86_400_000_000
START = 1_704_412_800_000_000  # 2024-01-05
SALES = ["weekly_sales", "is_holiday", "lag_1", "lag_2", "lag_4", "roll_4"]
STORE = ["temperature", "fuel_price", "cpi", "unemployment"]
SETTINGS = """project: sales
provider: local
registry: {registry}
offline_store: {{type: file}}
online_store: {{type: sqlite, path: online.db}}
entity_key_serialization_version: 3
"""
DEFINITIONS = """entities: [{{name: store, value_type: INT64}}, {{name: dept, value_type: INT64}}]
data_sources:
  - {{name: sales_hist, path: sales.parquet, timestamp_field: event_timestamp, created_timestamp_column: created}}
  - {{name: store_hist, path: stores.parquet, timestamp_field: event_timestamp, created_timestamp_column: created}}
feature_views:
  - {{name: sales_features, entities: [store, dept], source: sales_hist, ttl: 7d, schema: [{sales}]}}
  - {{name: store_features, entities: [store], source: store_hist, ttl: 7d, schema: [{store}]}}
"""


def prepare(root: pathlib.Path, weeks: int) -> pathlib.Path:
    folder = root / f"feast_{weeks}"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(4)

    def times(week: numpy.ndarray, late: int = 0) -> pyarrow.Array:
        return pyarrow.array(START + week * WEEK + late, pyarrow.timestamp("us", "UTC"))

    week = numpy.tile(numpy.arange(weeks), STORES * DEPARTMENTS)
    columns = {
        "store": numpy.repeat(numpy.arange(1, STORES + 1), DEPARTMENTS * weeks),
        "dept": numpy.tile(numpy.repeat(numpy.arange(1, DEPARTMENTS + 1), weeks), STORES),
        "event_timestamp": times(week),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "labels.parquet")
    columns["created"] = times(week, 3_600_000_000)
    columns |= {name: random.integers(0, 2, len(week)) if name == "is_holiday" else random.normal(9, 2, len(week))
                for name in SALES}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "sales.parquet")
    week = numpy.tile(numpy.arange(weeks), STORES)
    columns = {"store": numpy.repeat(numpy.arange(1, STORES + 1), weeks), "event_timestamp": times(week),
               "created": times(week, 3_600_000_000)}
    columns |= {name: random.normal(50, 9, len(week)) for name in STORE}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "stores.parquet")
    types = {name: "Int64" if name == "is_holiday" else "Float64" for name in SALES + STORE}
    fields = {view: ", ".join(f"{{name: {name}, dtype: {types[name]}}}" for name in names)
              for view, names in (("sales", SALES), ("store", STORE))}
    (folder / "features.yaml").write_text(DEFINITIONS.format(**fields))
    for name in ("gnomon", "feast"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "feature_store.yaml").write_text(SETTINGS.format(registry="registry.db"))
    (folder / "feast" / "feature_store.yaml").write_text(SETTINGS.format(registry="registry.db"))
    (folder / "complete").touch()
    return folder


def feast(folder: pathlib.Path, out: str) -> None:
    """In a process of its own: prints the seconds of the retrieval."""
    import feast as engine
    import pandas
    from feast.types import Float64, Int64

    def view(name: str, entities: list, path: str, names: list[str]) -> engine.FeatureView:
        source = engine.FileSource(name=name, path=str(folder / path), timestamp_field="event_timestamp",
                                   created_timestamp_column="created")
        keys = [engine.Field(name=entity.name, dtype=Int64) for entity in entities]
        return engine.FeatureView(name=name, entities=entities, ttl=timedelta(days=7), source=source, schema=keys + [
            engine.Field(name=each, dtype=Int64 if each == "is_holiday" else Float64) for each in names])

    stores = engine.Entity(name="store", join_keys=["store"], value_type=engine.ValueType.INT64)
    departments = engine.Entity(name="dept", join_keys=["dept"], value_type=engine.ValueType.INT64)
    store = engine.FeatureStore(repo_path=str(folder / "feast"))
    store.apply([stores, departments, view("sales_features", [stores, departments], "sales.parquet", SALES),
                 view("store_features", [stores], "stores.parquet", STORE)])
    wall, cpu = time.perf_counter(), time.process_time()
    rows = store.get_historical_features(
        entity_df=pandas.read_parquet(folder / "labels.parquet"),
        features=[f"sales_features:{name}" for name in SALES] + [f"store_features:{name}" for name in STORE],
    ).to_df()
    rows.to_parquet(out, index=False)
    print(json.dumps({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


def differing(ours: pathlib.Path, theirs: pathlib.Path) -> int:
    """Rows that only one of the files has, or with another value."""
    keys = [(name, "ascending") for name in ("store", "dept", "event_timestamp")]
    columns = [name for name, _ in keys] + SALES + STORE
    tables = [pyarrow.parquet.read_table(path).select(columns).sort_by(keys) for path in (ours, theirs)]
    if tables[0].num_rows != tables[1].num_rows:
        return abs(tables[0].num_rows - tables[1].num_rows)
    different = numpy.zeros(tables[0].num_rows, dtype=bool)
    for name in columns:
        left, right = (table[name].to_pandas() for table in tables)
        different |= ~((left == right) | (left.isna() & right.isna())).to_numpy()
    return int(different.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gnomon")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("build/bench/features"))
    parser.add_argument("--bars", action="store_true", help="fail when a bar is missed")
    arguments = parser.parse_args()
    gnomon = str(pathlib.Path(arguments.gnomon).resolve())
    folder = prepare(arguments.data.resolve(), arguments.weeks)
    outs = {name: folder / f"{name}.parquet" for name in ("gnomon", "feast")}
    subprocess.run([gnomon, "-c", str(folder), "apply"], check=True, capture_output=True)
    commands = {
        "gnomon": [gnomon, "-c", str(folder), "get-historical-features", "--entities", str(folder / "labels.parquet"),
                   "--features", "sales_features:*,store_features:*", "--out", str(outs["gnomon"])],
        "feast": [sys.executable, "-B", __file__, "--feast", str(folder), str(outs["feast"])],
    }
    samples: dict[str, list[measure.Cost]] = {name: [] for name in commands}
    for _ in range(arguments.runs):
        for name, command in commands.items():
            cost = measure.run(command)
            if name == "feast":
                said = json.loads(cost.output.splitlines()[-1])
                cost.wall, cost.cpu = said["seconds"], said["cpu"]
            samples[name].append(cost)
            print(f"  {name}: {cost.wall:.2f} s, cpu {cost.cpu:.2f} s, {cost.peak >> 20} MiB", flush=True)
    print("| engine | wall s | CPU s | peak MiB |\n|---|---|---|---|")
    medians = {}
    for name, costs in samples.items():
        medians[name] = [statistics.median(getattr(cost, field) for cost in costs) for field in ("wall", "cpu", "peak")]
        wall, cpu, peak = medians[name]
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {peak / 2**20:.0f} |")
    times = medians["feast"][0] / medians["gnomon"][0]
    wrong = differing(outs["gnomon"], outs["feast"])
    print(f"{times:.0f} times as fast; {wrong} of {pyarrow.parquet.read_metadata(outs['gnomon']).num_rows} rows differ")
    if wrong:
        raise SystemExit(1)
    if arguments.bars and times < 50:
        raise SystemExit("missed bar: 50 times")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--feast"]:
        feast(pathlib.Path(sys.argv[2]), sys.argv[3])
    else:
        main()
