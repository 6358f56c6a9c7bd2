#!/usr/bin/env python3
"""Parquet files as other writers make them: parquet_files.py GNOMON [FIRST LAST]

Random tables under random options of pyarrow's writer (row groups, pages, encodings, codecs, statistics, page index), joined
by `gnomon asof` and read by filters, beside a join by brute force. The numbers are seeds; without them a few run.
"""

import datetime
import decimal
import json
import operator
import pathlib
import random
import re
import sys
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from odd_data import DAY, NANOS, START, brute_force, require_rows
from program import run, temporary_folder

HOUR = DAY // 24
HOURS = 2400  # over which times are spread

# A feature's values from whole numbers, and how they may be encoded.
INTEGER, FLOAT, TEXT = ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"], ["BYTE_STREAM_SPLIT"], ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]
KINDS = {
    "double": (pa.float64(), lambda i: float("nan") if i % 11 == 5 else -0.0 if i % 11 == 7 else i / 7, FLOAT),
    "float": (pa.float32(), float, FLOAT),
    "half": (pa.float16(), lambda i: float(i % 1000), []),
    "int64": (pa.int64(), int, INTEGER),
    "int32": (pa.int32(), int, INTEGER),
    "int8": (pa.int8(), lambda i: i % 100, INTEGER),
    "uint16": (pa.uint16(), lambda i: i % 65536, INTEGER),
    "uint32": (pa.uint32(), lambda i: i * 4001 % 2**32, INTEGER),
    "uint64": (pa.uint64(), lambda i: i * 2**40 % 2**64, INTEGER),
    "bool": (pa.bool_(), lambda i: i % 2 == 0, ["RLE"]),
    "string": (pa.string(), lambda i: f"value {i}" * (1 + i % 3), TEXT),
    "large_string": (pa.large_string(), lambda i: f"value {i}", TEXT),
    "string_view": (pa.string_view(), lambda i: f"v{i}" * (1 + i % 9), []),
    "binary": (pa.binary(), lambda i: b"\0%d" % i, TEXT),
    "fixed": (pa.binary(8), lambda i: b"%08d" % (i % 10**8), []),
    "uuid": (pa.uuid(), lambda i: uuid.UUID(int=i % 2**90), []),
    "decimal": (pa.decimal128(30, 2), lambda i: decimal.Decimal(i) / 100, []),
    "small_decimal": (pa.decimal128(9, 2), lambda i: decimal.Decimal(i) / 100, []),
    "date": (pa.date32(), lambda i: datetime.date(2000, 1, 1) + datetime.timedelta(i % 20000), INTEGER),
    "time": (pa.time64("us"), lambda i: datetime.time(i % 24, i % 60), INTEGER),
    "micros": (pa.timestamp("us"), lambda i: datetime.datetime(2000, 1, 1) + datetime.timedelta(seconds=i), INTEGER),
    "millis": (pa.timestamp("ms", "UTC"), lambda i: datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(i % 9999),
               INTEGER),
    "duration": (pa.duration("us"), lambda i: datetime.timedelta(seconds=i), INTEGER),
    "word": (pa.dictionary(pa.int32(), pa.string()), lambda i: f"word {i % 40}", []),
    "list": (pa.list_(pa.int64()), lambda i: [i, None][:i % 3], []),
    "lists": (pa.list_(pa.list_(pa.string())), lambda i: [[f"{i}"] * (i % 3), []], []),
    "pair": (pa.list_(pa.float64(), 2), lambda i: [float(i), 2.0], []),
    "struct": (pa.struct([("a", pa.int64()), ("b", pa.string())]), lambda i: {"a": i, "b": f"s{i}"}, []),
    "single": (pa.struct([("a", pa.int64())]), lambda i: {"a": i if i % 3 else None}, []),
    "map": (pa.map_(pa.string(), pa.int64()), lambda i: [(f"k{i}", i)], []),
}
KEYS = {
    "int64": (pa.int64(), int), "uint16": (pa.uint16(), int), "string": (pa.string(), lambda i: f"key {i}"),
    "binary": (pa.binary(), lambda i: b"key %d" % i), "string_view": (pa.string_view(), lambda i: f"key {i}"),
    "date": (pa.date32(), lambda i: datetime.date(2026, 1, 1 + i % 28)), "bool": (pa.bool_(), lambda i: i % 2 == 0),
    "uuid": (pa.uuid(), lambda i: uuid.UUID(int=i)),
}


def with_nulls(chance: random.Random, values: list, share: float) -> list:
    return [None if chance.random() < share else value for value in values]


def random_times(chance: random.Random, rows: int, type_: pa.DataType) -> pa.Array:
    """Mostly in order, so that pages differ."""
    hours = [chance.randrange(HOURS) for _ in range(rows)]
    order = chance.choice(["ordered", "ordered", "nearly", "random"])
    if order != "random":
        hours.sort()
    if order == "nearly":
        hours = [hour + chance.randrange(4) for hour in hours]
    hours = with_nulls(chance, hours, chance.choice([0, 0, 0, 0.1, 0.9]))
    if pa.types.is_date32(type_):
        return pa.array([None if hour is None else START // DAY + hour // 24 for hour in hours], pa.int32()).cast(type_)
    return pa.array([None if hour is None else (START + hour * HOUR) // NANOS[type_.unit] for hour in hours], pa.int64()).cast(type_)


def random_features(chance: random.Random, rows: int, key: str, keys: int) -> pa.Table:
    type_, of = KEYS[key]
    ids = [of(chance.randrange(keys)) for _ in range(rows)]
    time = chance.choice([pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us"), pa.timestamp("ns"), pa.date32()])
    columns = [("id", pa.array(with_nulls(chance, ids, chance.choice([0, 0, 0.1])), type_)),
               ("ts", random_times(chance, rows, time))]
    for number in range(chance.randrange(1, 6)):
        type_, of, _ = KINDS[chance.choice(list(KINDS))]
        spread = chance.choice([1, 3, 50, 10**6])
        values = [of(chance.randrange(spread)) for _ in range(rows)]
        columns.append((f"f{number}", pa.array(with_nulls(chance, values, chance.choice([0, 0, 0.1, 0.9, 1])), type_)))
    chance.shuffle(columns)
    required = {name for name, column in columns if column.null_count == 0 and chance.random() < 0.3}
    return pa.table([column for _, column in columns],
                    pa.schema([pa.field(name, column.type, name not in required) for name, column in columns]))


def random_options(chance: random.Random, table: pa.Table) -> dict:
    options = {
        "version": chance.choice(["1.0", "2.4", "2.6"]),
        "compression": chance.choice(["none", "snappy", "gzip", "brotli", "lz4", "zstd"]),
        "write_statistics": chance.random() < 0.8, "write_page_index": chance.random() < 0.5,
        "data_page_version": chance.choice(["1.0", "2.0"]), "data_page_size": chance.choice([10, 100, 1000, 1000, None]),
        "write_batch_size": chance.choice([1, 10, 100, None]), "dictionary_pagesize_limit": chance.choice([1, 50, 1000, None]),
        "store_schema": chance.random() < 0.8, "write_page_checksum": chance.random() < 0.2,
        "use_deprecated_int96_timestamps": chance.random() < 0.1,
    }
    if chance.random() < 0.5 and not options["use_deprecated_int96_timestamps"]:
        encodings = {kind[0]: kind[2] for kind in KINDS.values()}
        chosen = {field.name: chance.choice(encodings[field.type]) for field in table.schema
                  if encodings.get(field.type) and chance.random() < 0.8}
        options |= {"use_dictionary": False, "column_encoding": chosen or None}
    return options


def write(chance: random.Random, table: pa.Table, path: pathlib.Path, options: dict) -> None:
    """In several calls, some of which write no row: row groups may be empty."""
    size = chance.choice([1, 7, 100, 10**6]) if len(table) < 50 else chance.choice([50, 500, 10**6])
    cuts = sorted(chance.randrange(len(table) + 1) for _ in range(chance.randrange(3)))
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        for begin, end in zip([0, *cuts], [*cuts, len(table)]):
            writer.write_table(table.slice(begin, end - begin), row_group_size=size)


def check_join(folder: pathlib.Path, seed: int) -> bool:
    """Were pages left out?"""
    chance = random.Random(seed)
    key, keys = chance.choice(list(KEYS)), chance.choice([1, 5, 40])
    features = random_features(chance, chance.choice([0, 1, 17, 1500, 1500, 1500]), key, keys)
    options = random_options(chance, features)
    write(chance, features, folder / "features.parquet", options)
    rows, first, span = chance.choice([1, 40]), chance.randrange(HOURS), chance.choice([0, 5, 100, HOURS])
    at = [(START + (first + chance.randrange(span + 1)) * HOUR) // 1000 for _ in range(rows)]
    labels = pa.table({"id": pa.array([KEYS[key][1](chance.randrange(keys)) for _ in range(rows)], KEYS[key][0]),
                       "ts": pa.array(at, pa.int64()).cast(pa.timestamp("us", "UTC"))})
    write(chance, labels, folder / "labels.parquet", {"compression": "zstd", "data_page_size": 100})
    names = [name for name in features.column_names if name not in ("id", "ts")]
    what = f"seed {seed}, {options}, {features.schema}"
    try:
        told = run("asof", "--left", folder / "labels.parquet", "--right", folder / "features.parquet", "--by", "id", "--on", "ts",
                   "--features", ",".join(names), "--out", folder / "out.parquet", "--stats",
                   *chance.choice([[], ["--set", "broadcast_join_threshold_mb=0"], ["--compression", "zstd"]]))
    except AssertionError as error:
        raise AssertionError(what) from error
    # As this writer's own reader gives them: what a file cannot hold is no longer in it.
    stored = pq.read_table(folder / "features.parquet")
    joined = pq.read_schema(folder / "out.parquet")
    for place, name in enumerate(stored.column_names):
        # Of times of 96 bits the unit and zone are this reader's, and a UUID is bytes where no Arrow schema is stored.
        if name in names and (pa.types.is_timestamp(stored[name].type) or stored[name].type == pa.uuid()):
            stored = stored.set_column(place, name, stored[name].cast(joined.field(name).type))
    require_rows(what, folder / "out.parquet", names, brute_force(labels, stored, names))
    return re.search(r"([1-9]\d*) of \d+ pages pruned", told) is not None


STORE = """project: files
provider: local
registry: registry.db
offline_store: {type: file}
online_store: {type: sqlite, path: online.db}
batch_engine: {type: local, isolation: process, max_workers: 1}
entity_key_serialization_version: 3
entities:
  - {name: thing, join_keys: [id], value_type: INT64}
data_sources:
  - {name: things, type: file, path: features.parquet, timestamp_field: ts}
feature_views:
"""
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne}


class Filter:
    """A comparison of a column with a constant as text, and as a function of a row."""

    def __init__(self, chance: random.Random, table: pa.Table):
        self.column = chance.choice([name for name in table.column_names if name not in ("id", "ts", "row")])
        values = [value for value in table[self.column].to_pylist() if value is not None]
        self.sign = chance.choice(list(SIGNS))
        self.value = chance.choice(values) if values else 0
        literal = repr(self.value)
        if isinstance(self.value, str):
            literal = f"'{self.value}'"
        if isinstance(self.value, datetime.datetime):
            literal = f"'{self.value.isoformat()}Z'"
        if isinstance(self.value, bool):
            literal = str(self.value).lower()
        if self.value != self.value:
            self.value = literal = 0.5
        if not values:
            literal = "'2026-01-01'" if pa.types.is_timestamp(table[self.column].type) else "null"
        self.text = f"{self.column} {self.sign} {literal}"

    def holds(self, row: dict) -> bool:
        value = row[self.column]
        return value is not None and SIGNS[self.sign](value, self.value)


def check_filters(folder: pathlib.Path, seed: int) -> bool:
    """Filters that are pushed down to the row groups and pages of a scan."""
    chance = random.Random(seed)
    rows = chance.choice([1, 30, 1500, 1500])
    spread = chance.choice([3, 100, 10**6])
    numbers = [chance.randrange(spread) for _ in range(rows)]
    if chance.random() < 0.7:
        numbers.sort()
    columns = {"id": pa.array([chance.randrange(3) for _ in range(rows)]), "ts": random_times(chance, rows, pa.timestamp("us")),
               "row": pa.array(range(rows))}
    for kind in ("double", "float", "int64", "int32", "uint16", "bool", "string", "micros"):
        type_, of, _ = KINDS[kind]
        columns[kind] = pa.array(with_nulls(chance, [of(i) for i in numbers], chance.choice([0, 0, 0.2, 0.97])), type_)
    table = pa.table(columns)
    options = random_options(chance, table) | {"use_deprecated_int96_timestamps": False}
    write(chance, table, folder / "features.parquet", options)
    filters = [[Filter(chance, table) for _ in range(chance.choice([1, 1, 2]))] for _ in range(6)]
    views = "".join(
        f"  - {{name: view{number}, entities: [thing], source: things, schema: [{{name: row, dtype: Int64}}], "
        f"filter: {json.dumps(' and '.join(part.text for part in parts))}}}\n" for number, parts in enumerate(filters))
    (folder / "feature_store.yaml").write_text(STORE[:STORE.index("entities:")])
    (folder / "features.yaml").write_text(STORE[STORE.index("entities:"):] + views)
    at = [(START + chance.randrange(HOURS + 9) * HOUR) // 1000 for _ in range(12)]
    labels = pa.table({"id": pa.array([chance.randrange(3) for _ in at]), "event_timestamp": pa.array(at).cast(pa.timestamp("us"))})
    pq.write_table(labels, folder / "labels.parquet")
    what = f"seed {seed}, {options}, {[[part.text for part in parts] for parts in filters]}"
    try:
        run("-c", folder, "apply")
        run("-c", folder, "get-historical-features", "-d", folder / "labels.parquet", "--full-feature-names", "-o",
            folder / "out.parquet", *(word for number in range(6) for word in ("-f", f"view{number}:row")))
    except AssertionError as error:
        raise AssertionError(what) from error
    all_rows = table.to_pylist()
    for number, parts in enumerate(filters):
        kept = [row["row"] for row in all_rows if all(part.holds(row) for part in parts)]
        expected = brute_force(labels.rename_columns(["id", "ts"]), table.take(pa.array(kept, pa.int64())), ["row"])
        require_rows(f"view{number}, {what}", folder / "out.parquet", [f"view{number}__row"], expected)


def main() -> None:
    first, last = map(int, sys.argv[2:4] or (0, 60))
    with temporary_folder() as folder:
        pruned = sum(check_join(folder, seed) for seed in range(first, last))
        assert pruned * 20 > last - first, f"pages were left out {pruned} times"
        for seed in range(first, first + (last - first) // 6):
            check_filters(folder, seed)
    print(f"{last - first} files are joined, {pruned} of them without some of their pages")


if __name__ == "__main__":
    main()
