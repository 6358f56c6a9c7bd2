"""A Feast repository with an object of every kind, and what `gnomon import` has to say of those that it cannot carry."""

import datetime
import pathlib
import sys
import unittest.mock

import pandas as pd
from feast import (BigQuerySource, Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, KafkaSource,
                   KinesisSource, Project, PushSource, RedshiftSource, RequestSource, SnowflakeSource, ValueType)
from feast.aggregation import Aggregation
from feast.batch_feature_view import batch_feature_view
from feast.data_format import AvroFormat, JsonFormat
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.contrib.athena_offline_store.athena_source import AthenaSource
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.labeling import LabelView
from feast.on_demand_feature_view import on_demand_feature_view
from feast.permissions.action import AuthzedAction
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.saved_dataset import SavedDataset, ValidationReference
from feast.stream_feature_view import stream_feature_view
from feast.types import Array, Float64, Int64, UnixTimestamp

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2026, 1, 3, tzinfo=datetime.timezone.utc)
EXPORT = ": not read here; export its rows to Parquet files or PostgreSQL and name these"
STREAM = ": streams are not read here; push their rows"
PYTHON = "its Python function does not run here; write it as expressions"
UNREAD_PUSH = "a push source that no feature view reads; name it as a view's push_source"

# Every line that the import tells, and no other.
NOT_CARRIED = {
    "entity 'identified': type Uuid is not supported",
    *(f"data source '{kind}': source type BATCH_{kind.upper()}{EXPORT}"
      for kind in ("bigquery", "snowflake", "redshift", "spark", "athena")),
    *(f"feature view 'of_{kind}': source type BATCH_{kind.upper()}{EXPORT}"
      for kind in ("bigquery", "snowflake", "redshift", "spark", "athena")),
    f"data source 'kafka': source type STREAM_KAFKA{STREAM}",
    f"data source 'kinesis': source type STREAM_KINESIS{STREAM}",
    f"data source 'lonely': {UNREAD_PUSH}",
    f"data source 'label_pushes': {UNREAD_PUSH}",
    "feature view 'batched': a Python transformation does not run here; write it as expressions",
    f"on demand feature view 'income': {PYTHON}",
    f"on demand feature view 'twice': {PYTHON}",
    "stream feature view 'streamed': streams are not read here; push its rows to a feature view",
    "label view 'labels': labels are not kept here; join them with `gnomon asof`",
    "project 'everything': its description, tags and owner stay in the registry",
    "entity 'untyped': it has no value_type in Feast; Int64 is assumed",
    "feature view 'disabled': it is disabled in Feast and works here; delete it from features.yaml where it must not",
    "feature view 'of_kafka': its stream 'kafka' is not read here; its batch source is, and rows can be pushed",
    "feature view 'derived': its sink 'derived_trips' is not written here; its rows are made when they are asked for",
    "feature view 'plain': feature 'place' has a vector index; it is stored and served, not searched here",
    "feature service 'logged': what is served is not logged here",
    "permission 'readers': gnomon checks none; keep its servers and databases behind what does",
    "validation reference 'like_may': its profile is Python; compare with `gnomon saved-datasets`",
    *(f"feature service '{service}': its view '{view}', which stays in Feast's registry"
      for service, view in (("python", "income"), ("mixed", "income"), ("mixed", "twice"))),
    "saved dataset 'may': it stays in the registry and its file",
}


def profiler():
    """Feast imports a package to store one, which nothing here calls."""
    for module in ("great_expectations", "great_expectations.core", "great_expectations.dataset"):
        sys.modules.setdefault(module, unittest.mock.MagicMock())
    from feast.dqm.profilers.ge_profiler import GEProfiler
    return GEProfiler(user_defined_profiler=lambda dataset: None)


def everything(folder: pathlib.Path) -> list:
    path = folder / "trips.parquet"
    rows = pd.DataFrame({"driver_id": [1, 2], "rate": [0.5, 0.25], "trips": [3, 4], "place": [[0.5, 1.5], [2.5, 3.5]],
                         "seen": [NOW, NOW], "event_timestamp": [NOW - DAY, NOW - DAY]})
    rows.to_parquet(path)
    rows.to_parquet(folder / "derived.parquet")
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64, description="who drives",
                    tags={"team": "rides"}, owner="rides@example.org")
    trips = FileSource(name="trips", path=str(path), timestamp_field="event_timestamp", description="all trips",
                       tags={"cost": "$5"}, owner="data@example.org")
    sink = FileSource(name="derived_trips", path=str(folder / "derived.parquet"), timestamp_field="event_timestamp")
    keys = [Field(name="driver_id", dtype=Int64)]
    schema = [*keys, Field(name="rate", dtype=Float64, description="accepted", tags={"unit": "1"}),
              Field(name="trips", dtype=Int64)]

    def view(name: str, source, **more) -> FeatureView:
        return FeatureView(**{"name": name, "entities": [driver], "ttl": DAY, "source": source, "schema": schema, **more})

    kafka = KafkaSource(name="kafka", kafka_bootstrap_servers="127.0.0.1:1", topic="trips", batch_source=trips,
                        timestamp_field="event_timestamp", message_format=JsonFormat(schema_json="driver_id integer"))
    plain = view("plain", trips, description="plain", tags={"tier": "gold"}, owner="rides@example.org", schema=[
        *schema, Field(name="place", dtype=Array(Float64), vector_index=True, vector_search_metric="L2"),
        Field(name="seen", dtype=UnixTimestamp)])
    fare = RequestSource(name="fare", schema=[Field(name="fare", dtype=Float64)])

    @on_demand_feature_view(sources=[plain, fare], schema=[Field(name="income", dtype=Float64)], mode="pandas")
    def income(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"income": inputs["trips"] * inputs["fare"]})

    @on_demand_feature_view(sources=[plain], schema=[Field(name="twice", dtype=Int64)], mode="python", entities=[driver],
                            write_to_online_store=True)
    def twice(inputs):
        return {"twice": [2 * each for each in inputs["trips"]]}

    @stream_feature_view(entities=[driver], ttl=DAY, mode="pandas", schema=schema, timestamp_field="event_timestamp",
                         source=kafka, aggregations=[Aggregation(column="trips", function="sum", time_window=DAY)])
    def streamed(rows):
        return rows

    @batch_feature_view(name="batched", entities=[driver], ttl=DAY, source=trips, schema=schema, mode="pandas", online=True)
    def batched(rows):
        return rows

    foreign = {"bigquery": BigQuerySource(name="bigquery", table="a.b.c", timestamp_field="at"),
               "snowflake": SnowflakeSource(name="snowflake", database="D", schema="S", table="T", timestamp_field="at"),
               "redshift": RedshiftSource(name="redshift", table="t", timestamp_field="at"),
               "spark": SparkSource(name="spark", table="t", timestamp_field="at"),
               "athena": AthenaSource(name="athena", table="t", database="d", data_source="a", timestamp_field="at")}
    kinesis = KinesisSource(name="kinesis", region="r", stream_name="s", timestamp_field="at", batch_source=trips,
                            record_format=AvroFormat("{}"))
    return [
        driver, Entity(name="untyped", join_keys=["untyped_id"]),
        Entity(name="identified", join_keys=["identified_id"], value_type=ValueType.UUID), trips, plain,
        view("disabled", trips), view("offline", trips, online=False), *foreign.values(),
        *(view(f"of_{kind}", source) for kind, source in foreign.items()), kafka, kinesis, view("of_kafka", kafka),
        view("pushed", PushSource(name="pushes", batch_source=trips)), PushSource(name="lonely", batch_source=trips),
        view("derived", [plain], sink_source=sink), fare, income, twice, streamed, batched,
        LabelView(name="labels", entities=[driver], schema=[*keys, Field(name="trips", dtype=Int64)],
                  source=PushSource(name="label_pushes", batch_source=trips)),
        FeatureService(name="logged", features=[plain[["rate"]]], description="one", tags={"used": "yes"}, owner="me",
                       logging_config=LoggingConfig(destination=FileLoggingDestination(path=str(folder / "log")))),
        FeatureService(name="renamed", features=[plain.with_name("again").with_join_key_map({"driver_id": "other_id"})]),
        FeatureService(name="python", features=[income]), FeatureService(name="mixed", features=[plain, income, twice]),
        Permission(name="readers", types=[FeatureView], policy=RoleBasedPolicy(roles=["reader"]),
                   actions=[AuthzedAction.DESCRIBE]),
    ]


def apply_everything(store: FeatureStore, folder: pathlib.Path) -> None:
    store.apply(everything(folder))
    store.disable_feature_view("disabled")
    may = SavedDataset(name="may", features=["plain:rate"], join_keys=["driver_id"],
                       storage=SavedDatasetFileStorage(path=str(folder / "may.parquet")))
    store.registry.apply_saved_dataset(may, store.project)
    store.registry.apply_validation_reference(ValidationReference("like_may", "may", profiler()), store.project)
    project = store.registry.get_project(store.project)
    store.registry.apply_project(Project(name=project.name, description="all that there is", owner="me"))
