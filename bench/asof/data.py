"""Data for the point-in-time join benchmark: deterministic by shape, written once, kept under build/bench.

A shape is rows x entities x labels x tables with a key, an order and a distribution. Features: the key, a time in
microseconds over a year, eight doubles; (key, time) is unique, so that the newest row is never ambiguous. Labels: an id,
the key, a time, a double.
"""

import dataclasses
import pathlib
import shutil

import numpy
import pyarrow
import pyarrow.parquet

YEAR = 365 * 86_400 * 1_000_000
START = 1_704_067_200 * 1_000_000  # 2024-01-01
TOLERANCE_DAYS = 7
FEATURES = 8
ROW_GROUP = 1 << 20


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    rows: int
    entities: int
    labels: int
    tables: int = 1
    key: str = "int"  # int, text, pair
    order: str = "random"  # random, time, key
    skewed: bool = False  # half of the rows, and of the labels, have one key
    last: float = 1.0  # labels lie in this last share of the year
    memory_limit: str = ""

    @property
    def by(self) -> list[str]:
        return ["entity_id", "region"] if self.key == "pair" else ["entity_id"]


MILLION = 1_000_000
MAIN = [
    Shape("1M_entities", 10 * MILLION, MILLION, MILLION),
    Shape("10k_entities", 10 * MILLION, 10_000, MILLION),
    Shape("5_tables", MILLION, 10_000, 100_000, tables=5),
]
MORE = [
    Shape("by_time", 10 * MILLION, MILLION, MILLION, order="time"),
    Shape("by_key", 10 * MILLION, MILLION, MILLION, order="key"),
    Shape("text_key", 10 * MILLION, MILLION, MILLION, key="text"),
    Shape("two_keys", 10 * MILLION, MILLION, MILLION, key="pair"),
    Shape("skewed", 10 * MILLION, MILLION, MILLION, skewed=True),
    Shape("last_5_percent", 10 * MILLION, MILLION, MILLION, order="time", last=0.05),
    Shape("60M_rows_1GiB", 60 * MILLION, MILLION, MILLION, memory_limit="1GiB"),
]
SHAPES = {shape.name: shape for shape in MAIN + MORE}


def entities(shape: Shape, count: int, random: numpy.random.Generator) -> numpy.ndarray:
    keys = random.integers(0, shape.entities, count)
    if shape.skewed:
        keys[random.random(count) < 0.5] = 7
    return keys


def key_columns(shape: Shape, keys: numpy.ndarray) -> dict:
    if shape.key == "text":
        return {"entity_id": pyarrow.array(numpy.char.mod("customer-%07d", keys))}
    if shape.key == "pair":
        return {"entity_id": keys // 10, "region": keys % 10}
    return {"entity_id": keys}


def times(values: numpy.ndarray) -> pyarrow.Array:
    return pyarrow.array(values + START, pyarrow.timestamp("us"))


def features(shape: Shape, table: int) -> pyarrow.Table:
    random = numpy.random.default_rng([shape.rows, shape.entities, table])
    keys = entities(shape, shape.rows, random)
    when = random.integers(0, YEAR, shape.rows)
    while True:  # no two rows of one key and time
        order = numpy.lexsort((when, keys))
        same = (keys[order][1:] == keys[order][:-1]) & (when[order][1:] == when[order][:-1])
        if not same.any():
            break
        when[order[1:][same]] += 1
    if shape.order != "random":
        order = order if shape.order == "key" else numpy.argsort(when, kind="stable")
        keys, when = keys[order], when[order]
    columns = key_columns(shape, keys) | {"event_timestamp": times(when)}
    for i in range(FEATURES):
        columns[f"f{table}_{i}"] = random.standard_normal(shape.rows)
    return pyarrow.table(columns)


def labels(shape: Shape) -> pyarrow.Table:
    random = numpy.random.default_rng([shape.labels, 1])
    first = int(YEAR * (1 - shape.last))
    return pyarrow.table(
        {"label_id": numpy.arange(shape.labels)}
        | key_columns(shape, entities(shape, shape.labels, random))
        | {
            "event_timestamp": times(random.integers(first, YEAR, shape.labels)),
            "label": random.standard_normal(shape.labels),
        }
    )


def write(table: pyarrow.Table, path: pathlib.Path) -> None:
    pyarrow.parquet.write_table(table, path, compression="snappy", row_group_size=ROW_GROUP)


def write_in_parts(shape: Shape, path: pathlib.Path) -> None:
    """A large table, part by part: keys and times are unique inside a part, and each part has its own stretch of
    microseconds modulo the number of parts."""
    parts = -(-shape.rows // (10 * MILLION))
    writer = None
    for part in range(parts):
        piece = dataclasses.replace(shape, rows=10 * MILLION)
        random = numpy.random.default_rng([shape.rows, part])
        keys = entities(piece, piece.rows, random)
        when = random.integers(0, YEAR // parts, piece.rows)
        order = numpy.lexsort((when, keys))
        keep = numpy.ones(piece.rows, bool)
        keep[order[1:]] = (keys[order][1:] != keys[order][:-1]) | (when[order][1:] != when[order][:-1])
        keys, when = keys[keep], when[keep] * parts + part
        columns = key_columns(shape, keys) | {"event_timestamp": times(when)}
        for i in range(FEATURES):
            columns[f"f0_{i}"] = random.standard_normal(len(keys))
        table = pyarrow.table(columns)
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table, row_group_size=ROW_GROUP)
    writer.close()


def prepare(shape: Shape, root: pathlib.Path) -> pathlib.Path:
    """The folder with labels.parquet and F_0.parquet, F_1.parquet, ...; made when it is missing."""
    folder = root / shape.name
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(labels(shape), folder / "labels.parquet")
    for table in range(shape.tables):
        path = folder / f"F_{table}.parquet"
        if shape.rows > 20 * MILLION:
            write_in_parts(shape, path)
        else:
            write(features(shape, table), path)
    (folder / "complete").touch()
    return folder
