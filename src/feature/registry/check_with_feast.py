"""Feast reads a registry that gnomon wrote, changes it, and gnomon reads it again.

usage: check_with_feast.py FEATURE_REGISTRY_TEST
"""

import datetime
import os
import pathlib
import subprocess
import sys
import tempfile

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, Int64, String

DAY = datetime.timedelta(days=1)


def run_gnomon(program: str, case: str, registry: pathlib.Path) -> None:
    command = [program, "--no-intro", "--no-skip", f"--test-case=child: {case}*"]
    subprocess.run(command, check=True, env={**os.environ, "GNOMON_TEST_REGISTRY": str(registry)})


def expect(what: str, actual, wanted) -> None:
    if actual != wanted:
        sys.exit(f"{what}: {actual!r}, not {wanted!r}")


def check(store: FeatureStore) -> None:
    driver = store.get_entity("driver")
    expect("join key", driver.join_key, "driver_id")
    expect("value type", driver.value_type, ValueType.INT64)
    expect("entities", [entity.name for entity in store.list_entities()], ["driver"])
    source = store.get_data_source("trips")
    expect("source", (type(source), source.path, source.timestamp_field), (FileSource, "trips.parquet", "event_timestamp"))
    stats = store.get_feature_view("stats")
    expect("ttl", stats.ttl, DAY)
    expect("features", [(field.name, field.dtype) for field in stats.features], [("rate", Float64), ("trips", Int64)])
    expect("entity columns", [(field.name, field.dtype) for field in stats.entity_columns], [("driver_id", Int64)])
    expect("intervals", [end - start for start, end in stats.materialization_intervals], [DAY])
    everywhere = store.get_feature_view("everywhere")
    expect("dummy column", [(field.name, field.dtype) for field in everywhere.entity_columns], [("__dummy_id", String)])
    derived = store.get_feature_view("derived")
    expect("source views", [view.name for view in derived.source_views], ["stats"])
    may = store.registry.get_saved_dataset("may", project="p")
    expect("saved dataset", (may.features, may.join_keys, may.feature_service_name, may.storage.file_options.uri),
           (["stats:rate"], ["driver_id"], "service", "may.parquet"))
    service = store.get_feature_service("service")
    projections = [(projection.name, [field.name for field in projection.features])
                   for projection in service.feature_view_projections]
    # The aggregate's type is left open in the example.
    expect("service", projections, [("stats", ["rate"]), ("windows", [])])


def change(store: FeatureStore, folder: pathlib.Path) -> None:
    stats = store.get_feature_view("stats")
    stats.description = "changed by feast"
    path = folder / "weather.parquet"
    pd.DataFrame({"city_name": ["a"], "rain": [1.0], "at": [pd.Timestamp.now(tz="UTC")]}).to_parquet(path)
    city = Entity(name="city", join_keys=["city_name"], value_type=ValueType.STRING)
    source = FileSource(name="weather source", path=str(path), timestamp_field="at")
    fields = [Field(name="city_name", dtype=String), Field(name="rain", dtype=Float32, tags={"unit": "mm"})]
    store.registry.apply_feature_view(stats, "p")
    store.apply([city, source, FeatureView(name="weather", entities=[city], ttl=DAY / 2, schema=fields, source=source)])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        registry = folder / "registry.db"
        (folder / "feature_store.yaml").write_text(
            f"project: p\nprovider: local\nregistry: {registry}\nonline_store: {{type: sqlite, path: {folder}/online.db}}\n"
            "entity_key_serialization_version: 3\n")
        run_gnomon(sys.argv[1], "writes an example registry", registry)
        store = FeatureStore(repo_path=str(folder))
        check(store)
        change(store, folder)
        run_gnomon(sys.argv[1], "reads what Feast made", registry)
        again = FeatureStore(repo_path=str(folder))
        expect("views after gnomon", sorted(view.name for view in again.list_feature_views()),
               ["derived", "everywhere", "stats", "weather", "windows"])
        expect("interval after gnomon", len(again.get_feature_view("stats").materialization_intervals), 1)
    print("feast and gnomon read each other's registry")


if __name__ == "__main__":
    main()
