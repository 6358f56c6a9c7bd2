#!/usr/bin/env python3
"""Gnomon and a real Feast share online stores, both ways: feast_online.py GNOMON (run by .venv-feast's python)

For each of SQLite, PostgreSQL, Redis and a Redis cluster, with entity keys of version 2 and 3, and every type of feature:
- Feast applies, materializes and writes single rows; Gnomon adopts what it finds with Feast's own feature_store.yaml and
  reads the same;
- Gnomon applies and materializes the same source with `layout: feast`; Feast's get_online_features reads the same, and
  the raw rows are those that Feast wrote, byte for byte;
- a flipped byte is noticed by the same comparisons.
"""

import base64
import contextlib
import datetime
import json
import logging
import pathlib
import sqlite3
import struct
import warnings

import pyarrow as pa
import pyarrow.parquet as pq

from program import execute, run, temporary_folder
from services import Postgres, Redis, RedisCluster

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

from feast import Entity, FeatureStore, FeatureView, FileSource, Field  # noqa: E402
from feast.infra.online_stores.helpers import get_online_store_from_config  # noqa: E402
from feast.protos.feast.types import EntityKey_pb2, Value_pb2  # noqa: E402
from feast.types import (Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp)  # noqa: E402
from feast.value_type import ValueType  # noqa: E402

UTC = datetime.timezone.utc
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=UTC)
END = datetime.datetime(2026, 1, 2, tzinfo=UTC)
KEYS = [1001, 1002, -7]
VIEW = "every_type"
# name: Feast's type, Gnomon's type, Arrow's type, a value for each key
TYPES = {
    "b": (Bool, "Bool", pa.bool_(), [True, False, True]),
    "i32": (Int32, "Int32", pa.int32(), [-5, 0, 2**31 - 1]),
    "i64": (Int64, "Int64", pa.int64(), [2**53 + 1, 0, -(2**63)]),
    "f32": (Float32, "Float32", pa.float32(), [0.1, -0.0, 3e38]),
    "f64": (Float64, "Float64", pa.float64(), [0.1, 1e16, 5e-324]),
    "s": (String, "String", pa.string(), ["é1", "", "None"]),
    "by": (Bytes, "Bytes", pa.binary(), [b"\x00\xff", b"", b"x"]),
    "t": (UnixTimestamp, "UnixTimestamp", pa.timestamp("us", "UTC"), [NOON, NOON, END]),
    "bs": (Array(Bool), "Array(Bool)", pa.list_(pa.bool_()), [[True, False], [True], [False]]),
    "i32s": (Array(Int32), "Array(Int32)", pa.list_(pa.int32()), [[1, -2], [0], [7]]),
    "i64s": (Array(Int64), "Array(Int64)", pa.list_(pa.int64()), [[2**60, -1], [5], [0]]),
    "f32s": (Array(Float32), "Array(Float32)", pa.list_(pa.float32()), [[0.5, -1.5], [0.1], [0.0]]),
    "f64s": (Array(Float64), "Array(Float64)", pa.list_(pa.float64()), [[0.1, 1e300], [2.0], [0.0]]),
    "ss": (Array(String), "Array(String)", pa.list_(pa.string()), [["a", ""], ["é"], ["x"]]),
    "bys": (Array(Bytes), "Array(Bytes)", pa.list_(pa.binary()), [[b"\xff", b""], [b"a"], [b"b"]]),
    "ts": (Array(UnixTimestamp), "Array(UnixTimestamp)", pa.list_(pa.timestamp("us", "UTC")),
           [[NOON, END], [NOON], [END]]),
}
SCALARS = [name for name in TYPES if not isinstance(TYPES[name][3][0], list)]


def write_source(path: pathlib.Path) -> None:
    columns = {name: pa.array(values, arrow) for name, (_, _, arrow, values) in TYPES.items()}
    # Feast's SQLite store keeps whole seconds.
    columns["event_timestamp"] = pa.array([NOON, NOON + datetime.timedelta(seconds=5), NOON], pa.timestamp("us", "UTC"))
    columns["created"] = pa.array([NOON] * len(KEYS), pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"driver_id": pa.array(KEYS, pa.int64()), **columns}), path)


def write_repository(folder: pathlib.Path, project: str, store: str, version: int) -> None:
    """One folder for both: feature_store.yaml is Feast's own and Gnomon takes it as it is."""
    fields = "\n".join(f"      - {{name: {name}, dtype: {types[1]}}}" for name, types in TYPES.items())
    (folder / "features.yaml").write_text(f"""
entities: [{{name: driver, join_keys: [driver_id], value_type: INT64}}]
data_sources: [{{name: rows, path: rows.parquet, timestamp_field: event_timestamp, created_timestamp_column: created}}]
feature_views:
  - name: {VIEW}
    entities: [driver]
    source: rows
    schema:
{fields}
""")
    for name, registry, more in (("feature_store.yaml", "feast.db", ""), ("adopt.yaml", "gnomon.db", ""),
                                 ("gnomon.yaml", "gnomon.db", ", layout: feast")):
        (folder / name).write_text(f"project: {project}\nprovider: local\nregistry: {registry}\n"
                                   f"online_store: {{{store}{more}}}\n"
                                   f"entity_key_serialization_version: {version}\n")


def feast_repository(folder: pathlib.Path) -> FeatureStore:
    store = FeatureStore(repo_path=str(folder))
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    source = FileSource(name="rows", path=str(folder / "rows.parquet"), timestamp_field="event_timestamp",
                        created_timestamp_column="created")
    view = FeatureView(name=VIEW, entities=[driver], source=source, ttl=datetime.timedelta(0),
                       schema=[Field(name=name, dtype=types[0]) for name, types in TYPES.items()])
    store.apply([driver, source, view])
    return store


def plain(value):
    """A value as JSON of either server has it."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def as_float32(value):
    if isinstance(value, list):
        return [as_float32(each) for each in value]
    return None if value is None else struct.unpack("<f", struct.pack("<f", value))[0]


def expected(key: int) -> dict:
    row = {name: types[3][KEYS.index(key)] for name, types in TYPES.items()}
    return {name: plain(as_float32(value) if name.startswith("f32") else value) for name, value in row.items()}


def read_with_feast(store: FeatureStore, keys) -> list:
    response = store.get_online_features(features=[f"{VIEW}:{name}" for name in TYPES],
                                         entity_rows=[{"driver_id": key} for key in keys]).to_dict()
    return [{name: plain(response[name][row]) for name in TYPES} for row in range(len(keys))]


def read_with_gnomon(folder: pathlib.Path, yaml: str, keys) -> list:
    answer = json.loads(run("-c", folder, "-f", folder / yaml, "get-online-features", "-f", f"{VIEW}:*",
                            "-e", json.dumps({"driver_id": keys}), "--json"))
    columns = dict(zip(answer["metadata"]["feature_names"], answer["results"]))
    return [{name: columns[name]["values"][row] for name in TYPES} for row in range(len(keys))]


def same(left, right) -> bool:
    """Equal to the bit, whether a whole number was written with a fraction or not."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (left, right))
    if numbers and float in (type(left), type(right)):
        return struct.pack("<d", left) == struct.pack("<d", right)
    return type(left) is type(right) and left == right


def expect(what: str, actual, wanted) -> None:
    for row, (left, right) in enumerate(zip(actual, wanted, strict=True)):
        for name in right:
            assert same(left[name], right[name]), f"{what}, row {row}, {name}: {left[name]!r}, not {right[name]!r}"


def value_rows() -> dict:
    """What no source gives to Feast: a key with nulls only, and one with empty lists and a newer time."""
    messages = {name: Value_pb2.Value() for name in TYPES}
    nulls = {name: None for name in TYPES}
    empty = {name: Value_pb2.Value() for name in TYPES}
    empties = dict(nulls)
    for name, member in (("bs", "bool"), ("i32s", "int32"), ("i64s", "int64"), ("f32s", "float"), ("f64s", "double"),
                         ("ss", "string"), ("bys", "bytes"), ("ts", "unix_timestamp")):
        getattr(empty[name], f"{member}_list_val").SetInParent()
        empties[name] = []
    return {2001: (messages, nulls), 2002: (empty, empties)}


def write_values_with_feast(store: FeatureStore) -> dict:
    """Rows as messages, by the online store's own method; returns what they are worth."""
    rows, wanted = [], {}
    for key, (messages, values) in value_rows().items():
        entity = EntityKey_pb2.EntityKey(join_keys=["driver_id"], entity_values=[Value_pb2.Value(int64_val=key)])
        rows.append((entity, messages, NOON, NOON))
        wanted[key] = values
    online = store._get_provider().online_store if hasattr(store._get_provider(), "online_store") else \
        get_online_store_from_config(store.config.online_store)
    online.online_write_batch(store.config, store.get_feature_view(VIEW), rows, None)
    return wanted


class Sqlite:
    name = "sqlite"

    def __init__(self, folder):
        self.path = folder / "online.db"
        self.yaml = "type: sqlite, path: online.db"

    def dump(self, project):
        with contextlib.closing(sqlite3.connect(self.path)) as database:
            return sorted(database.execute(f"SELECT entity_key, feature_name, value, value_text, vector_value, event_ts, "
                                           f"created_ts FROM {project}_{VIEW}"))

    def flip(self, project, feature):
        with contextlib.closing(sqlite3.connect(self.path)) as database, database:
            (key, value), = database.execute(f"SELECT entity_key, value FROM {project}_{VIEW} WHERE feature_name = ? "
                                             f"ORDER BY entity_key LIMIT 1", (feature,))
            changed = value[:-1] + bytes([value[-1] ^ 1])
            database.execute(f"UPDATE {project}_{VIEW} SET value = ? WHERE entity_key = ? AND feature_name = ?",
                             (changed, key, feature))


class PostgresStore:
    name = "postgres"

    def __init__(self, postgres, folder):
        self.postgres = postgres
        self.yaml = "type: postgres, " + postgres.yaml + ", sslmode: disable"

    def dump(self, project):
        return self.postgres.sql(f"SELECT encode(entity_key, 'hex'), feature_name, encode(value, 'hex'), value_text, "
                                 f"vector_value IS NULL, event_ts, created_ts FROM {project}_{VIEW} ORDER BY 1, 2")

    def flip(self, project, feature):
        self.postgres.sql(f"UPDATE {project}_{VIEW} SET value = set_byte(value, length(value) - 1, "
                          f"get_byte(value, length(value) - 1) # 1) WHERE feature_name = '{feature}'")


class RedisStore:
    name = "redis"

    def __init__(self, redis, folder):
        import redis as client

        host, port = redis.address.split(":")
        self.client = client.Redis(host=host, port=int(port))
        self.yaml = f"type: redis, connection_string: '{redis.address}'"

    def hashes(self, project):
        return {key: self.client.hgetall(key) for key in self.client.scan_iter()
                if key.endswith(project.encode()) and self.client.type(key) == b"hash" and not key.startswith(b"gnomon")}

    def dump(self, project):
        return {key[: -len(project)]: fields for key, fields in self.hashes(project).items()}

    def flip(self, project, feature):
        import mmh3

        field = struct.pack("<I", mmh3.hash(f"{VIEW}:{feature}", signed=False))
        for key, fields in self.hashes(project).items():
            value = fields[field]
            self.client.hset(key, field, value[:-1] + bytes([value[-1] ^ 1]))


class RedisClusterStore(RedisStore):
    name = "redis_cluster"

    def __init__(self, cluster, folder):
        import redis as client

        self.client = client.RedisCluster(host="127.0.0.1", port=cluster.servers[0].port)
        self.yaml = f"type: redis, redis_type: redis_cluster, connection_string: '{cluster.address}'"


def check(folder: pathlib.Path, store, version: int) -> None:
    what = f"{store.name}, keys of version {version}"
    feasts, ours = folder / "feasts", folder / "ours"
    for repository, project in ((feasts, f"feast_made_{version}"), (ours, f"gnomon_made_{version}")):
        repository.mkdir()
        write_source(repository / "rows.parquet")
        yaml = store.yaml.replace("online.db", str(folder / "online.db"))
        write_repository(repository, project, yaml, version)
    wanted = [expected(key) for key in KEYS]

    # Feast writes, Gnomon reads.
    feast = feast_repository(feasts)
    feast.materialize(NOON - datetime.timedelta(days=1), END)
    expect(f"{what}: Feast reads itself", read_with_feast(feast, KEYS), wanted)
    first_rows = store.dump(f"feast_made_{version}")
    written = write_values_with_feast(feast)
    run("-c", feasts, "-f", feasts / "adopt.yaml", "apply")
    keys = [*KEYS, *written]
    expect(f"{what}: Gnomon reads Feast's rows", read_with_gnomon(feasts, "adopt.yaml", keys), [*wanted, *written.values()])

    # Gnomon writes, Feast reads, and the bytes are the same.
    run("-c", ours, "-f", ours / "gnomon.yaml", "apply")
    run("-c", ours, "-f", ours / "gnomon.yaml", "materialize", "2025-12-31T00:00:00Z",
        END.strftime("%Y-%m-%dT%H:%M:%SZ"))
    theirs = feast_repository(ours)
    expect(f"{what}: Feast reads Gnomon's rows", read_with_feast(theirs, KEYS), wanted)
    expect(f"{what}: Gnomon reads itself", read_with_gnomon(ours, "gnomon.yaml", KEYS), wanted)
    assert len(first_rows) > 0 and store.dump(f"gnomon_made_{version}") == first_rows, f"{what}: the stored bytes differ"
    # Feast goes on writing into what Gnomon has made.
    theirs.materialize(NOON - datetime.timedelta(days=1), END)
    assert store.dump(f"gnomon_made_{version}") == first_rows, f"{what}: Feast changed the stored bytes"

    # One flipped byte is noticed by both.
    store.flip(f"gnomon_made_{version}", "i64")
    assert not same(read_with_feast(theirs, KEYS), wanted), f"{what}: a flipped byte was not noticed"
    result = execute("-c", ours, "-f", ours / "gnomon.yaml", "get-online-features", "-f", f"{VIEW}:*", "-e",
                     json.dumps({"driver_id": KEYS}), "--json")
    if result.returncode == 0:
        assert not same(read_with_gnomon(ours, "gnomon.yaml", KEYS), wanted), f"{what}: a flipped byte was not noticed"
    assert store.dump(f"gnomon_made_{version}") != first_rows
    run("-c", ours, "-f", ours / "gnomon.yaml", "teardown")


with contextlib.ExitStack() as stack:
    postgres, redis, cluster = map(stack.enter_context, (Postgres(), Redis(), RedisCluster()))
    for make in (Sqlite, lambda folder: PostgresStore(postgres, folder), lambda folder: RedisStore(redis, folder),
                 lambda folder: RedisClusterStore(cluster, folder)):
        for key_version in (2, 3):
            with temporary_folder() as temporary:
                check(temporary, make(temporary), key_version)
print("Feast and Gnomon share their stores")
