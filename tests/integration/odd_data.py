#!/usr/bin/env python3
"""Odd but legal data, and files that are not what they were: odd_data.py GNOMON

Every right result is compared with a join by brute force; what cannot be right is told with its place, and nothing is
left behind.
"""

import datetime
import decimal
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

from program import (CONFLICT, DATA_LOSS, EXHAUSTED, DENIED, KILLED, NOT_FOUND, PROGRAM, UNAVAILABLE, USER, execute, fail,
                     limit_file_size, run, seconds, temporary_folder)

NANOS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY = 86_400 * 10**9
START = 1_767_225_600 * 10**9  # 2026-01-01

STORE = """project: odd
provider: local
registry: registry.db
offline_store: {type: file}
online_store: {type: sqlite, path: online.db}
entity_key_serialization_version: 3
"""
FEATURES = """entities:
  - {{name: thing, join_keys: [id], value_type: {key_type}}}
data_sources:
  - {{name: things, type: file, path: {path}, timestamp_field: ts}}
feature_views:
  - name: view
    entities: [thing]
    source: things
    schema: [{schema}]
"""


def instants(column) -> list[int | None]:
    """Times as nanoseconds, of any size."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_date32(column.type):
        return [value and value * DAY for value in column.cast(pa.int32()).to_pylist()]
    scale = NANOS[column.type.unit]
    return [None if value is None else value * scale for value in column.cast(pa.int64()).to_pylist()]


def brute_force(labels: pa.Table, features: pa.Table, names: list[str]) -> list[list]:
    """Rows of the named features for each label: the last row of the greatest time at or before the label's."""
    rows = list(zip(features["id"].to_pylist(), instants(features["ts"])))
    columns = [features[name].to_pylist() for name in names]
    result = []
    for key, at in zip(labels["id"].to_pylist(), instants(labels["ts"])):
        matches = [] if key is None or at is None else [
            (time, place) for place, (own, time) in enumerate(rows) if own == key and time is not None and time <= at]
        result.append([column[max(matches)[1]] for column in columns] if matches else [None] * len(names))
    return result


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def require_rows(what: str, path: pathlib.Path, names: list[str], expected: list[list]) -> None:
    table = pq.read_table(path)
    found = [list(row) for row in zip(*(table[name].to_pylist() for name in names))]
    wrong = [(row, one, other) for row, (one, other) in enumerate(zip(found, expected)) if not same(one, other)]
    assert len(found) == len(expected) and not wrong, f"{what}: {len(found)} rows, wrong (row, is, must be): {wrong[:3]}"


def times(values, type_=pa.timestamp("us", "UTC")) -> pa.Array:
    """Days after 2026-01-01 as times of the type."""
    if pa.types.is_date32(type_):
        return pa.array([None if day is None else START // DAY + day for day in values], pa.int32()).cast(type_)
    unit = NANOS[type_.unit]
    return pa.array([None if day is None else (START + int(day * DAY)) // unit for day in values], pa.int64()).cast(type_)


class Join:
    """The same join by `gnomon asof` and through a repository."""

    def __init__(self, folder: pathlib.Path, labels: pa.Table, features, dtypes: dict[str, str], key_type: str = "INT64"):
        """`features` is a table or a list of tables, each a file of a folder."""
        self.folder, self.labels, self.names = folder, labels, list(dtypes)
        folder.mkdir()
        self.source = folder / ("things" if isinstance(features, list) else "things.parquet")
        if isinstance(features, list):
            self.source.mkdir()
            for number, table in enumerate(features):
                pq.write_table(table, self.source / f"{number}.parquet")
        else:
            pq.write_table(features, self.source)
        pq.write_table(labels, folder / "labels.parquet")
        self.out = folder / "out.parquet"
        schema = ", ".join(f"{{name: {name}, dtype: {dtype}}}" for name, dtype in dtypes.items())
        (folder / "feature_store.yaml").write_text(STORE)
        (folder / "features.yaml").write_text(FEATURES.format(path=self.source.name, schema=schema, key_type=key_type))

    @property
    def asof(self) -> list:
        return ["asof", "--left", self.folder / "labels.parquet", "--right", self.source, "--by", "id", "--on", "ts",
                "--features", ",".join(self.names), "--out", self.out]

    @property
    def retrieval(self) -> list:
        return ["-c", self.folder, "get-historical-features", "-d", self.folder / "labels.parquet", "-f", "view:*", "-o",
                self.out]

    def require(self, expected: list[list], asof: bool = True, repository: bool = True) -> None:
        if asof:
            run(*self.asof)
            require_rows(f"asof of {self.folder.name}", self.out, self.names, expected)
        if repository:
            run("-c", self.folder, "apply")
            run(*self.retrieval)
            require_rows(f"retrieval of {self.folder.name}", self.out, self.names, expected)

    def refuse(self, code: int, says) -> None:
        fail(*self.asof, code=code, says=says)
        run("-c", self.folder, "apply")
        fail(*self.retrieval, code=code, says=says)
        assert not list(self.folder.glob("*out.parquet*")), self.folder.name

    def online(self, key, end: str = "2026-02-01") -> dict:
        run("-c", self.folder, "materialize", "1700-01-01", end)
        text = run("-c", self.folder, "get-online-features", "-f", "view:*", "-e", json.dumps([{"id": key}]), "--as-of", end,
                   "--json")
        answer = json.loads(text)
        names = answer["metadata"]["feature_names"]
        return {name: answer["results"][names.index(name)]["values"][0] for name in self.names}


def check_values(folder: pathlib.Path) -> None:
    """NaN, infinities, null columns, dictionaries, lists: values come through as they are."""
    features = pa.table({
        "id": pa.array([1, 2, 3, 1, None, 4], pa.int64()), "ts": times([0, 0, 0, 2, 0, None]),
        "x": pa.array([float("nan"), float("inf"), -math.inf, -0.0, 5.0, 6.0]),
        "none": pa.array([None] * 6, pa.float64()), "nothing": pa.nulls(6),
        "word": pa.array(["a", "b", None, "a", "b", "c"]).dictionary_encode(),
        "flag": pa.array([True, None, False, None, True, True]),
        "list": pa.array([[1.5, None], [], None, [math.nan], [1.0], [2.0]], pa.list_(pa.float64()))})
    labels = pa.table({"id": pa.array([1, 1, 2, 3, 4, None, 9], pa.int64()), "ts": times([1, 3, 1, 1, 1, 1, 1])})
    dtypes = {"x": "Float64", "none": "Float64", "nothing": "String", "word": "String", "flag": "Bool",
              "list": "Array(Float64)"}
    join = Join(folder / "values", labels, features, dtypes)
    join.require(brute_force(labels, features, list(dtypes)))
    assert join.online(1) == {"x": 0, "none": None, "nothing": None, "word": "a", "flag": None, "list": ["NaN"]}, join.online(1)
    assert join.online(2)["list"] == [] and join.online(2)["x"] == "Infinity", join.online(2)


def check_nested(folder: pathlib.Path) -> None:
    """Structs and decimals have no feature type: `asof` carries them, a repository says so."""
    features = pa.table({
        "id": pa.array([1, 2, 1]), "ts": times([0, 0, 2]),
        "pair": pa.array([{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}]),
        "lists": pa.array([[[1], []], None, [[2, None]]], pa.list_(pa.list_(pa.int64()))),
        "price": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-99.50")], pa.decimal128(9, 2)),
        "large": pa.array([decimal.Decimal(10) ** 40, None, decimal.Decimal(-1)], pa.decimal256(50, 0))})
    labels = pa.table({"id": pa.array([1, 1, 2, 3]), "ts": times([1, 3, 3, 3])})
    names = ["pair", "lists", "price", "large"]
    Join(folder / "nested", labels, features, dict.fromkeys(names, "Int64")).require(
        brute_force(labels, features, names), repository=False)
    for name, dtype in (("pair", "String"), ("lists", "Array(Int64)"), ("large", "Float64")):
        join = Join(folder / f"nested-{name}", labels, features, {name: dtype})
        fail("-c", join.folder, "apply", code=USER,
             says=[f"'view': column '{name}': no feature type holds a column of type ", "features.yaml:"])


def check_units(folder: pathlib.Path) -> None:
    """Times of any unit and zone on both sides compare as instants."""
    types = [pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "Europe/Oslo"), pa.timestamp("ns", "+05:30"),
             pa.date32()]
    days = [0, 1, 2, 3]
    for number, of_features in enumerate(types):
        for of_labels in types:
            features = pa.table({"id": [1] * 4, "ts": times(days, of_features), "x": [0, 1, 2, 3]})
            labels = pa.table({"id": [1] * 5, "ts": times([-1, 0, 1, 2.5, 9], of_labels) if of_labels != pa.date32() else
                               times([-1, 0, 1, 2, 9], of_labels)})
            join = Join(folder / f"units{number}-{types.index(of_labels)}", labels, features, {"x": "Int64"})
            # The repository's reader is the same; one of them for every pair is enough.
            join.require(brute_force(labels, features, ["x"]), asof=number % 2 == 0, repository=number % 2 == 1)
    # One folder with files of several units.
    parts = [pa.table({"id": [1], "ts": times([day], type_), "x": [day]}) for day, type_ in enumerate(types[1:4])]
    labels = pa.table({"id": [1] * 3, "ts": times([0.5, 1.5, 9])})
    whole = pa.concat_tables([part.set_column(1, "ts", part["ts"].cast(pa.timestamp("us", "UTC"))) for part in parts])
    Join(folder / "units-mixed", labels, parts, {"x": "Int64"}).require(brute_force(labels, whole, ["x"]))


def check_extreme_times(folder: pathlib.Path) -> None:
    """Before 1970, and beyond what 64 bits of nanoseconds hold (1677 to 2262)."""
    seconds = [-62_135_596_800, -12_000_000_000, -1, 0, 16_725_225_600, 253_402_300_799]  # years 1, 1589, ..., 2500, 9999
    features = pa.table({"id": [1] * 6, "ts": pa.array(seconds, pa.int64()).cast(pa.timestamp("s")), "x": list(range(6))})
    at = [-62_135_596_801, -62_135_596_800, -11_999_999_999, -1, 0, 16_725_225_599, 16_725_225_600, 253_402_300_799]
    for unit in ("s", "ms", "us"):
        labels = pa.table({"id": [1] * len(at), "ts": pa.array([second * (10**9 // NANOS[unit]) for second in at],
                                                              pa.int64()).cast(pa.timestamp(unit))})
        Join(folder / f"far-{unit}", labels, features, {"x": "Int64"}).require(brute_force(labels, features, ["x"]))
    # Labels in nanoseconds see features that nanoseconds cannot hold, and features in nanoseconds labels.
    near = pa.array([-(2**63) + 1, -1, 0, 2**63 - 1], pa.int64()).cast(pa.timestamp("ns"))
    labels = pa.table({"id": [1] * 4, "ts": near})
    Join(folder / "far-labels-ns", labels, features, {"x": "Int64"}).require(brute_force(labels, features, ["x"]))
    fine = pa.table({"id": [1] * 4, "ts": near, "x": list(range(4))})
    labels = pa.table({"id": [1] * len(seconds), "ts": features["ts"]})
    Join(folder / "far-features-ns", labels, fine, {"x": "Int64"}).require(brute_force(labels, fine, ["x"]))


def check_keys(folder: pathlib.Path) -> None:
    """Integers of any width and sign join by value; text does not join with numbers."""
    widths = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()]
    for number, left in enumerate(widths):
        right = widths[(number + 3) % len(widths)]
        low, high = (-1, 127) if pa.types.is_signed_integer(left) and pa.types.is_signed_integer(right) else (0, 127)
        features = pa.table({"id": pa.array([low, high, 5], right), "ts": times([0, 0, 0]), "x": [1, 2, 3]})
        labels = pa.table({"id": pa.array([5, high, low, None], left), "ts": times([1, 1, 1, 1])})
        Join(folder / f"keys-{left}-{right}", labels, features, {"x": "Int64"}).require(
            brute_force(labels, features, ["x"]))
    # No value of one side is cut to the other's width.
    features = pa.table({"id": pa.array([1, -1, 255], pa.int64()), "ts": times([0, 0, 0]), "x": [1, 2, 3]})
    labels = pa.table({"id": pa.array([2**64 - 1, 1, 2**63], pa.uint64()), "ts": times([1, 1, 1])})
    Join(folder / "keys-huge", labels, features, {"x": "Int64"}).require([[None], [1], [None]], repository=False)
    labels = pa.table({"id": ["1"], "ts": times([1])})
    Join(folder / "keys-text", labels, features, {"x": "Int64"}).refuse(USER, ["join keys", "string"])
    labels = pa.table({"id": [1.0], "ts": times([1])})
    Join(folder / "keys-float", labels, features, {"x": "Int64"}).refuse(USER, ["join key", "double"])
    words = pa.table({"id": pa.array(["a", "b", None]).dictionary_encode(), "ts": times([0, 0, 0]), "x": [1, 2, 3]})
    labels = pa.table({"id": pa.array(["b", "a", "c", None], pa.large_string()), "ts": times([1, 1, 1, 1])})
    Join(folder / "keys-words", labels, words, {"x": "Int64"}, key_type="STRING").require(brute_force(labels, words, ["x"]))


def check_sizes(folder: pathlib.Path) -> None:
    features = pa.table({"id": [1, 2], "ts": times([0, 0]), "x": [1, 2]})
    labels = pa.table({"id": [1, 3], "ts": times([1, 1])})
    for name, left, right in (("no-labels", labels.slice(0, 0), features), ("no-features", labels, features.slice(0, 0)),
                              ("nothing", labels.slice(0, 0), features.slice(0, 0)),
                              ("one", labels.slice(0, 1), features.slice(0, 1))):
        Join(folder / name, left, right, {"x": "Int64"}).require(brute_force(left, right, ["x"]))
    run("-c", folder / "no-features", "materialize", "2026-01-01", "2026-02-01")
    # Ten thousand columns, each of another value.
    count = 10_000
    names = [f"c{number}" for number in range(count)]
    wide = pa.table({"id": pa.array([1, 2, 1]), "ts": times([0, 0, 1])} |
                    {name: pa.array([number, None, -number]) for number, name in enumerate(names)})
    labels = pa.table({"id": [1, 2, 1], "ts": times([0, 2, 2])})
    join = Join(folder / "wide", labels, wide, {names[7]: "Int64", names[-1]: "Int64"})
    join.require(brute_force(labels, wide, join.names))
    run("asof", "--left", folder / "wide/labels.parquet", "--right", join.source, "--by", "id", "--on", "ts", "--out", join.out)
    require_rows("asof of all columns", join.out, names, brute_force(labels, wide, names))


def check_drift(folder: pathlib.Path) -> None:
    """Files of one folder: columns that come and go, move, change their width; what would lose a value is told."""
    first = pa.table({"id": pa.array([1, 2], pa.int64()), "ts": times([0, 0]), "x": pa.array([1, 2], pa.int64())})
    labels = pa.table({"id": [1, 2, 3], "ts": times([9, 9, 9])})

    def second(**columns) -> pa.Table:
        return pa.table({"id": pa.array([1, 3], pa.int64()), "ts": times([1, 1]), "x": pa.array([7, None], pa.int64())} | columns)

    narrow = second(id=pa.array([1, 3], pa.int16()), x=pa.array([7, None], pa.int32()))
    for name, other in (("narrow", narrow), ("moved", second().select(["x", "ts", "id"])),
                        ("more", second(extra=["a", "b"])),
                        ("whole-floats", second(x=pa.array([7.0, None], pa.float64()))),
                        ("lost", second().drop_columns(["x"])), ("null", second(x=pa.nulls(2))),
                        ("empty", second().slice(0, 0))):
        seen = other if "x" in other.column_names else other.append_column("x", pa.nulls(2, pa.int64()))
        whole = pa.concat_tables([first, seen.select(["id", "ts", "x"]).cast(first.schema)])
        Join(folder / f"drift-{name}", labels, [first, other], {"x": "Int64"}).require(brute_force(labels, whole, ["x"]))
    # Where the first file is the narrow one, too, and in worker processes.
    for name, of_first, of_second in (("wider", pa.int32(), pa.int64()), ("wider-times", pa.timestamp("s"), pa.timestamp("us"))):
        ones = [1, 2] if "times" not in name else [datetime.datetime(2024, 1, day) for day in (1, 2)]
        others = [5_000_000_000, None] if "times" not in name else [datetime.datetime(2024, 1, 3, 0, 0, 0, 7), None]
        parts = [first.set_column(2, "x", pa.array(ones, of_first)), second(x=pa.array(others, of_second))]
        whole = pa.concat_tables([part.set_column(2, "x", part["x"].cast(of_second)) for part in parts])
        join = Join(folder / f"drift-{name}", labels, parts, {"x": "UnixTimestamp" if "times" in name else "Int64"})
        expected = brute_force(labels, whole, ["x"])
        join.require(expected, repository="times" not in name)
        if "times" not in name:
            assert join.online(1) == {"x": 5_000_000_000}
            with (join.folder / "feature_store.yaml").open("a") as settings:
                settings.write("batch_engine: {type: local, isolation: process, max_workers: 2}\n")
            join.require(expected, asof=False)
    for name, other, code, says in (
            ("floats", second(x=pa.array([7.5, None])), USER, ["1.parquet", "'x'", "7.5"]),
            ("words", second(x=pa.array(["a", "b"])), USER, ["1.parquet", "'x'", "string"]),
            ("wide", second(x=pa.array([2**64 - 1, 1], pa.uint64())), USER, ["1.parquet", "'x'", "18446744073709551615"])):
        Join(folder / f"drift-{name}", labels, [first, other], {"x": "Int64"}).refuse(code, says)
    for column in ("ts", "id"):  # as null a row would be dropped in silence
        other = second().drop_columns([column])
        Join(folder / f"drift-no-{column}", labels, [first, other], {"x": "Int64"}).refuse(
            USER, ["1.parquet", f"'{column}'"])


def run_paused(arguments, point: str, meanwhile) -> tuple[int, str]:
    """Exit code and standard error of a run that stops itself at a fault point, where `meanwhile` is called."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=errors,
                                   env=os.environ | {"GNOMON_FAULT": point})
        # Returns when the process has stopped, or has ended without reaching the point.
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"{point} was not reached: {status}"
        meanwhile()
        process.send_signal(signal.SIGCONT)
        code = process.wait(timeout=seconds(60))
        errors.seek(0)
        return code, errors.read()


def check_changing_files(folder: pathlib.Path) -> None:
    """A file that is replaced, cut off or removed after it was planned with."""
    rows = 20_000
    features = pa.table({"id": pa.array(range(rows)), "ts": times([0] * rows), "x": pa.array(range(rows), pa.float64())})
    labels = pa.table({"id": pa.array([1, rows - 1]), "ts": times([1, 1])})
    join = Join(folder / "changing", labels, features, {"x": "Float64"})
    good = join.source.read_bytes()
    expected = brute_force(labels, features, ["x"])
    for data in (good[:-1], good[:len(good) // 2], good[:20], b"PAR1"):
        join.source.write_bytes(data)
        fail(*join.asof, code=DATA_LOSS, says="truncated Parquet file: ")
    join.source.unlink()
    fail(*join.asof, code=NOT_FOUND, says="things.parquet")
    join.source.write_bytes(good)
    join.require(expected)
    join.out.unlink()

    for command in (join.asof, join.retrieval):
        for scan, changed in ((1, folder / "changing/labels.parquet"), (2, join.source)):
            before = changed.read_bytes()
            for change, expected_code in ((cut, CONFLICT), (replace, CONFLICT), (os.unlink, NOT_FOUND)):
                code, errors = run_paused(command, f"file.before_scan:{scan}:pause", lambda: change(changed))
                told = f"{command[0]}, scan {scan}, {change.__name__}: exit code {code}\n{errors}"
                assert code == expected_code and f"{changed}" in errors, told
                assert expected_code != CONFLICT or "the file changed while it was being read: " in errors, told
                assert not list(join.folder.glob("*out.parquet*")), told
                changed.write_bytes(before)


def check_half_saved(folder: pathlib.Path) -> None:
    """Killed while it saves a dataset: never a file without a name; a name without its file is found and used again."""
    rows = pa.table({"id": [1, 2], "ts": times([0, 0]), "x": [1.0, 2.0]})
    join = Join(folder / "saved", rows.select(["id", "ts"]), rows, {"x": "Float64"})
    run("-c", join.folder, "apply")
    save = [*join.retrieval, "--save-as", "kept"]

    def names() -> list:
        return [each["name"] for each in json.loads(run("-c", join.folder, "saved-datasets", "list", "--json"))]

    assert execute(*save, fault="registry.before_write:1:kill").returncode == KILLED
    assert not join.out.exists() and names() == []
    # The registry's two files come first.
    assert execute(*save, fault="file.before_rename:3:kill").returncode == KILLED
    assert not join.out.exists() and names() == ["kept"]
    told = execute("-c", join.folder, "doctor")
    assert told.returncode == UNAVAILABLE and "without a file: kept (out.parquet)" in told.stdout + told.stderr, told
    run(*save)
    run("-c", join.folder, "saved-datasets", "verify", "kept")
    run("-c", join.folder, "doctor")
    fail(*save, code=CONFLICT, says="'kept'")
    assert execute(*save, "--overwrite", fault="file.before_rename:3:error").returncode == UNAVAILABLE
    run("-c", join.folder, "saved-datasets", "verify", "kept")  # that of before


def cut(path: pathlib.Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: pathlib.Path) -> None:
    """By a file of the same rows, in another order of bytes."""
    pq.write_table(pq.read_table(path), path.with_suffix(".new"), compression="zstd")
    os.replace(path.with_suffix(".new"), path)


def check_spill(folder: pathlib.Path) -> None:
    """A join that has to spill, and a folder that takes nothing or not enough."""
    rows = 300_000
    features = pa.table({"id": pa.array([row % 5000 for row in range(rows)]), "ts": times([row / rows for row in range(rows)]),
                         "x": pa.array(range(rows), pa.float64())})
    labels = pa.table({"id": pa.array([row % 5000 for row in range(rows)]), "ts": times([2 * row / rows for row in range(rows)])})
    join = Join(folder / "spill", labels, features, {"x": "Float64"})
    run(*join.asof)
    whole = pq.read_table(join.out)
    join.out.unlink()
    little = [*join.asof, "--memory-limit", "6MiB", "--stats"]
    told = run(*little, "--spill-dir", folder)
    assert int(re.search(r"spilled bytes: (\d+)", told)[1]) > 10**6, told
    assert pq.read_table(join.out).equals(whole)
    join.out.unlink()
    fail(*little, "--spill-dir", folder / "missing", code=NOT_FOUND, says=str(folder / "missing"))
    read_only = folder / "read-only"
    read_only.mkdir(mode=0o555)
    if os.geteuid() == 0:  # whom no mode keeps out: a folder of the kernel's
        read_only = pathlib.Path("/sys")
    fail(*little, "--spill-dir", read_only, code=DENIED, says=f"spill folder '{read_only}'")
    fail(*little, "--spill-dir", folder, code=EXHAUSTED, says=str(folder), before=limit_file_size(100_000))
    assert not join.out.exists() and not list(folder.rglob("*.tmp*"))


def main() -> None:
    with temporary_folder() as folder:
        for check in (check_values, check_nested, check_units, check_extreme_times, check_keys, check_sizes, check_drift,
                      check_changing_files, check_spill, check_half_saved):
            check(folder)
    print("odd data are joined or told")


if __name__ == "__main__":
    main()
