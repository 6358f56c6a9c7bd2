"""Events and labels for the feature benchmarks, and the repository that defines features on them. Deterministic, written
once, kept under build/bench."""

import pathlib
import shutil

import numpy
import pyarrow
import pyarrow.parquet

DAY = 86_400 * 1_000_000
START = 1_704_067_200 * 1_000_000  # 2024-01-01
MILLION = 1_000_000
ROW_GROUP = 1 << 20

# function, column, days, name
WINDOWS = [
    ("count", "amount", 1, "count_1d"),
    ("sum", "amount", 1, "sum_1d"),
    ("mean", "amount", 7, "mean_7d"),
    ("max", "amount", 7, "max_7d"),
    ("min", "amount", 30, "min_30d"),
    ("std", "amount", 30, "std_30d"),
    ("sum", "amount", 90, "sum_90d"),
    ("mean", "amount", 90, "mean_90d"),
]

STORE = """project: bench
registry: registry.db
online_store: {type: sqlite, path: online.db}
"""


def features_yaml(view: str) -> str:
    return f"""entities: [{{name: customer, value_type: INT64}}]
data_sources: [{{name: events, path: events.parquet, timestamp_field: event_timestamp}}]
feature_views:
  - name: {view}
    entities: [customer]
    source: events
"""


def windows_yaml() -> str:
    items = "".join(
        f"      - {{function: {function}, column: {column}, time_window: {days}d, name: {name}}}\n"
        for function, column, days, name in WINDOWS
    )
    return features_yaml("windows") + "    aggregations:\n" + items


def latest_yaml() -> str:
    fields = "".join(f"      - {{name: f{i}, dtype: Float64}}\n" for i in range(10))
    return features_yaml("latest") + "    schema:\n" + fields


def times(values: numpy.ndarray) -> pyarrow.Array:
    return pyarrow.array(values + START, pyarrow.timestamp("us"))


def write(table: pyarrow.Table, path: pathlib.Path) -> None:
    pyarrow.parquet.write_table(table, path, compression="snappy", row_group_size=ROW_GROUP)


def prepare_windows(folder: pathlib.Path, rows: int, entities: int, labels: int) -> None:
    random = numpy.random.default_rng(1)
    write(
        pyarrow.table(
            {
                "customer": random.integers(0, entities, rows),
                "event_timestamp": times(random.integers(0, 365 * DAY, rows)),
                "amount": random.standard_normal(rows) * 100,
            }
        ),
        folder / "events.parquet",
    )
    write(
        pyarrow.table(
            {
                "label_id": numpy.arange(labels),
                "customer": random.integers(0, entities, labels),
                "event_timestamp": times(random.integers(0, 365 * DAY, labels)),
            }
        ),
        folder / "labels.parquet",
    )
    (folder / "features.yaml").write_text(windows_yaml())


def prepare_latest(folder: pathlib.Path, rows: int, entities: int) -> None:
    random = numpy.random.default_rng(2)
    columns = {
        "customer": random.integers(0, entities, rows),
        # Distinct, so that the newest row of a customer is never ambiguous.
        "event_timestamp": times(random.permutation(rows) * 3_000_000),
    }
    columns |= {f"f{i}": random.standard_normal(rows) for i in range(10)}
    write(pyarrow.table(columns), folder / "events.parquet")
    (folder / "features.yaml").write_text(latest_yaml())


def prepare(name: str, root: pathlib.Path, scale: float) -> pathlib.Path:
    """The repository of a benchmark; made when it is missing."""
    folder = root / f"{name}_{scale:g}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(STORE)
    rows = int(10 * MILLION * scale)
    if name == "windows":
        prepare_windows(folder, rows, max(1, int(10_000 * scale)), int(MILLION * scale))
    else:
        prepare_latest(folder, rows, int(MILLION * scale))
    (folder / "complete").touch()
    return folder
