"""What lies in an online store, as sqlite3, psql and redis-cli see it, and kills of `materialize` that leave such stores.

A dump is {(view, layout): {entity key in hex: row}}; a row of Feast's layout holds all that is stored of its entity. Two
stores with the same rows have equal dumps, whatever numbers Gnomon gave their tables.
"""

import collections
import pathlib
import re
import sqlite3
import struct

PROJECT = "jobs"
REDIS_DUMP = """
local hex = {}
for i = 0, 255 do hex[string.char(i)] = string.format('%02x', i) end
local catalog, views, out = 'gnomon:online:' .. ARGV[1], {}, {}
local entries = redis.call('HGETALL', catalog)
for i = 1, #entries, 2 do
  local view = entries[i]:match('^packed:(.*)$')
  if view then views[entries[i + 1]] = view end
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  local id, entity = key:match('^gnomon:[^:]*:(%d+):(.*)$')
  if id then
    out[#out + 1] = 'packed ' .. views[id] .. ' ' .. entity:gsub('.', hex) .. ' ' .. redis.call('GET', key):gsub('.', hex)
  elseif key ~= catalog then
    local fields, words = redis.call('HGETALL', key), {}
    for i = 1, #fields do words[i] = fields[i]:gsub('.', hex) end
    out[#out + 1] = 'feast ' .. key:gsub('.', hex) .. ' ' .. table.concat(words, ' ')
  end
end
return out
"""


def murmur3(text: str) -> str:
    """Murmur3 (32 bits, seed 0), little-endian in hex: Feast's name of a field in a hash of Redis."""

    def rotate(value: int, by: int) -> int:
        return (value << by | value >> 32 - by) & 0xFFFFFFFF

    data, value = text.encode(), 0
    whole = len(data) // 4 * 4
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        value ^= rotate(block * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
        value = (rotate(value, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if data[whole:]:
        block = int.from_bytes(data[whole:], "little")
        value ^= rotate(block * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return struct.pack("<I", value ^ value >> 16).hex()


class SqliteStore:
    """The database in a repository's folder."""

    name = "sqlite"
    yaml = "type: sqlite, path: data/online.db"

    def reset(self) -> None:
        pass  # every repository has its own

    def dump(self, folder: pathlib.Path, features: dict) -> dict:
        database = sqlite3.connect(folder / "data" / "online.db")
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = collections.defaultdict(dict)
        for view in features:
            for table in tables:
                if re.fullmatch(f"(gnomon_)?\\d*_?{PROJECT}_{view}", table) and table != f"{PROJECT}_{view}":
                    select = f'SELECT entity_key, event_ts, created_ts, value FROM "{table}"'
                    rows[view, "packed"] = {key.hex(): tuple(row) for key, *row in database.execute(select)}
            if f"{PROJECT}_{view}" in tables:
                select = (f"SELECT entity_key, feature_name, value, event_ts, created_ts FROM {PROJECT}_{view} "
                          "ORDER BY feature_name")
                for key, *row in database.execute(select):
                    known = rows[view, "feast"]
                    known[key.hex()] = (*known.get(key.hex(), ()), *row)
        database.close()
        return dict(rows)


class PostgresStore:
    """A server that one repository after the other has for itself."""

    name = "postgres"

    def __init__(self, server):
        self.server = server
        self.yaml = f"type: postgres, {server.yaml}"

    def reset(self) -> None:
        self.server.sql("SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def dump(self, _, features: dict) -> dict:
        tables = self.server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split()
        rows = collections.defaultdict(dict)
        for view in features:
            for table in tables:
                if re.fullmatch(f"gnomon_\\d+_{PROJECT}_{view}", table):
                    select = ("SELECT entity_key, event_ts, created_ts, md5(schema), value "
                              f'FROM "{table}" JOIN gnomon_online_schemas ON id = schema_id')
                    rows[view, "packed"] = {row[0]: tuple(row[1:]) for row in self._rows(select)}
            if f"{PROJECT}_{view}" in tables:
                select = ("SELECT entity_key, feature_name, value, value_text, event_ts, created_ts FROM "
                          f"{PROJECT}_{view} ORDER BY feature_name")
                for key, *row in self._rows(select):
                    known = rows[view, "feast"]
                    known[key] = (*known.get(key, ()), *row)
        return dict(rows)

    def _rows(self, select: str) -> list:
        return [line.split("|") for line in self.server.sql(select).splitlines()]


class RedisStore:
    """A server that one repository after the other has for itself."""

    name = "redis"

    def __init__(self, server):
        self.server = server
        self.yaml = f"type: redis, connection_string: '{server.address}'"

    def reset(self) -> None:
        self.server.cli("FLUSHALL")

    def dump(self, _, features: dict) -> dict:
        views = {murmur3(f"{view}:{name}"): view for view, names in features.items() for name in names}
        views.update({f"_ts:{view}".encode().hex(): view for view in features})
        rows = collections.defaultdict(dict)
        for line in self.server.cli("--raw", "EVAL", REDIS_DUMP, "0", PROJECT).splitlines():
            layout, *words = line.split(" ")
            if layout == "packed":
                rows[words[0], layout][words[1]] = tuple(words[2:])
                continue
            for field, value in sorted(zip(words[1::2], words[2::2])):
                known = rows[views[field], layout]
                known[words[0]] = (*known.get(words[0], ()), field, value)
        return dict(rows)
