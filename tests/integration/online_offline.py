#!/usr/bin/env python3
"""Features and predictions are the same offline and online, in separate processes: online_offline.py GNOMON

1,000 random keys: what `get-historical-features` computes from the Parquet files as of an instant is what
`get-online-features` reads from the store as of it, bit for bit: the last materialized instant, ten days later (the
windows have moved on), and forty days later (a TTL has passed). And a prediction follows the store.
"""

import datetime
import json
import random
import sqlite3
import struct

from program import Server, run, run_demo, temporary_folder

SEED = 20260102
STORES, DEPTS, KEYS = 40, 30, 1000
END = datetime.datetime(2025, 1, 3, tzinfo=datetime.timezone.utc)
FEATURES = "sales_features:*,store_conditions:*,sales_trends:*"
VARIED = ("recent_sales", "sales_sum_4w", "sales_mean_4w", "sales_mean_13w", "lag_1", "lag_2", "trend")


def instant(days: int) -> str:
    return (END + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def bits(value):
    """Equal for two JSON values exactly when every bit is."""
    if isinstance(value, list):
        return [bits(each) for each in value]
    if isinstance(value, float):
        return struct.pack(">d", value)
    return (type(value).__name__, value)


def as_double(value):
    """A JSON number without a fraction may be a double: 3 and 3.0 are one value."""
    if isinstance(value, list):
        return [as_double(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_offline(repository, keys, moment: str):
    entities = repository / "entities.csv"
    entities.write_text("store,dept,event_timestamp\n" + "".join(f"{s},{d},{moment}\n" for s, d in keys))
    out = repository / "offline.jsonl"
    run("-c", repository, "get-historical-features", "-d", entities, "-f", FEATURES, "-o", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["store"], row["dept"]) for row in rows] == keys
    return rows


def read_online(repository, keys, moment: str):
    entities = repository / "entities.json"
    entities.write_text(json.dumps([{"store": store, "dept": dept} for store, dept in keys]))
    answer = json.loads(run("-c", repository, "get-online-features", "-f", FEATURES, "-e", f"@{entities}", "--as-of",
                            moment, "--json"))
    names = answer["metadata"]["feature_names"]
    columns = {name: result["values"] for name, result in zip(names, answer["results"])}
    return [{name: columns[name][row] for name in names} for row in range(len(keys))]


def check_parity(repository, keys) -> None:
    seen = {}
    for days in (0, 10, 40):
        moment = instant(days)
        offline, online = read_offline(repository, keys, moment), read_online(repository, keys, moment)
        assert len(online[0]) == len(offline[0]) - 1 >= 20  # the entity rows have a time
        for left, right in zip(offline, online):
            for name, value in right.items():
                assert bits(as_double(left.get(name))) == bits(as_double(value)), (moment, name, left, right)
        seen[days] = online
        # At forty days nothing is left in a window of four weeks; before that, a thousand keys differ.
        for name in VARIED:
            assert days == 40 or len({str(row[name]) for row in online}) > KEYS // 2, (moment, name)
    assert any(a["sales_sum_4w"] != b["sales_sum_4w"] for a, b in zip(seen[0], seen[10])), "the windows stand still"
    assert all(row["cpi"] is not None for row in seen[10]) and all(row["cpi"] is None for row in seen[40])


def table_name(database, view: str) -> str:
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    (name,) = [name for name in names if name.endswith("_" + view)]
    return name


def entity_key(store: int, dept: int) -> bytes:
    """Feast's key, version 3, of (dept, store)."""

    def text(value: str) -> bytes:
        return struct.pack("<II", 2, len(value)) + value.encode()

    def number(value: int) -> bytes:
        return struct.pack("<IIq", 4, 8, value)

    return struct.pack("<I", 2) + text("dept") + text("store") + number(dept) + number(store)


def check_prediction_follows_store(repository) -> None:
    instances = {"instances": [{"store": 1, "dept": 3}, {"store": 1, "dept": 4}, {"store": 2, "dept": 3}]}
    with Server(repository, "serve-model", "--as-of", instant(0)) as models, Server(repository, "serve") as features:

        def predict():
            status, answer = models.post("/v1/models/sales-model:predict", instances)
            assert status == 200, answer
            return answer["predictions"]

        first = predict()
        assert predict() == first and len(set(first)) == 3, first
        database = sqlite3.connect(repository / "data/online_store.db")
        table = table_name(database, "sales_features")
        with database:
            changed = database.execute(
                f'UPDATE "{table}" SET value = (SELECT value FROM "{table}" WHERE entity_key = ?) WHERE entity_key = ?',
                (entity_key(1, 4), entity_key(1, 3))).rowcount
        database.close()
        assert changed == 1
        second = predict()
        assert second == [first[1], first[1], first[2]], (first, second)  # one store, one history: one prediction

        row = {"store": [2], "dept": [3], "event_timestamp": [instant(-1)], "created": [instant(-1)],
               "weekly_sales": [1e6]}
        status, answer = features.post("/push", {"feature_view_name": "sales_features", "df": row, "to": "online"})
        assert status == 200, answer
        third = predict()
        assert third[:2] == second[:2] and third[2] != second[2], (second, third)


print("seed", SEED)
with temporary_folder() as temporary:
    sales = temporary / "sales"
    run_demo(sales, STORES, DEPTS, 1)
    every_key = [(store, dept) for store in range(1, STORES + 1) for dept in range(1, DEPTS + 1)]
    check_parity(sales, random.Random(SEED).sample(every_key, KEYS))
    check_prediction_follows_store(sales)
print("offline and online are the same")
