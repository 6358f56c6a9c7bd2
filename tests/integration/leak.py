#!/usr/bin/env python3
"""No feature of a week uses that week or a later one: leak.py GNOMON, with a Python that has pyarrow.

Every value of the sales at or after week t is replaced by a random one: the features of all labels up to t stay the
same bytes. Only the values of week t-1 replaced: those of t change, those before do not.
"""

import datetime
import random
import shutil

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from program import run, run_demo, temporary_folder

SEED = 20260101
FIRST_WEEK = datetime.datetime(2024, 1, 5, tzinfo=datetime.timezone.utc)
WEEK = datetime.timedelta(days=7)
# What says which row it is and when it is known; everything else is a value.
FIXED = ("store", "dept", "event_timestamp", "created")
FEATURES = "sales_features:*,store_conditions:*,sales_trends:*"


def random_values(column: pyarrow.ChunkedArray, generator: random.Random) -> pyarrow.Array:
    if pyarrow.types.is_boolean(column.type):
        return pyarrow.array([generator.random() < 0.5 for _ in range(len(column))])
    if pyarrow.types.is_date32(column.type):
        days = [generator.randrange(20_000) for _ in range(len(column))]
        return pyarrow.array(days, pyarrow.int32()).cast(column.type)
    assert pyarrow.types.is_float64(column.type), column.type
    return pyarrow.array([generator.gauss(0, 1e6) for _ in range(len(column))])


def randomise(sales: pyarrow.Table, first: datetime.datetime, last: datetime.datetime, generator) -> pyarrow.Table:
    """`sales` with random values in the weeks that begin in [first, last]."""
    dates = sales["date"]
    chosen = pyarrow.compute.and_(pyarrow.compute.greater_equal(dates, pyarrow.scalar(first.date())),
                                  pyarrow.compute.less_equal(dates, pyarrow.scalar(last.date())))
    assert pyarrow.compute.any(chosen).as_py()
    for place, name in enumerate(sales.column_names):
        if name not in FIXED:
            values = pyarrow.compute.if_else(chosen, random_values(sales[name], generator), sales[name])
            sales = sales.set_column(place, name, values)
    return sales


class Repository:
    def __init__(self, folder):
        self.folder = folder
        self.source = folder / "data/sales.parquet"
        self.labels = pyarrow.parquet.read_table(folder / "data/labels.parquet")

    def features(self, until: datetime.datetime) -> bytes:
        """The file of features of all labels up to `until`."""
        times = self.labels["event_timestamp"]
        entities = self.labels.filter(pyarrow.compute.less_equal(times, pyarrow.scalar(until)))
        assert entities.num_rows > 0
        pyarrow.parquet.write_table(entities, self.folder / "entities.parquet")
        out = self.folder / "features.arrow"
        run("-c", self.folder, "get-historical-features", "-d", self.folder / "entities.parquet", "-f", FEATURES, "-o",
            out)
        return out.read_bytes()


def table_of(content: bytes) -> pyarrow.Table:
    return pyarrow.ipc.open_file(content).read_all()


def check_week(repository: Repository, week: int, generator: random.Random) -> None:
    moment = FIRST_WEEK + week * WEEK
    original = pyarrow.parquet.read_table(repository.source)
    known = repository.features(moment)
    earlier = repository.features(moment - WEEK)
    assert repository.features(moment) == known, "two runs differ"

    future = randomise(original, moment, FIRST_WEEK + 1000 * WEEK, generator)
    assert not future.equals(original)
    pyarrow.parquet.write_table(future, repository.source)
    assert repository.features(moment) == known, f"week {week}: its own values or later ones are in its features"

    pyarrow.parquet.write_table(randomise(original, moment - WEEK, moment - WEEK, generator), repository.source)
    assert repository.features(moment - WEEK) == earlier, f"week {week - 1} is in features of that week or earlier"
    changed = table_of(repository.features(moment))
    before = table_of(known)
    at_week = pyarrow.compute.equal(before["event_timestamp"], pyarrow.scalar(moment))
    for name in ("recent_sales", "sales_sum_4w", "sales_mean_13w", "temperature", "lag_1"):
        assert changed[name].filter(at_week) != before[name].filter(at_week), f"week {week}: {name} ignores last week"
    assert changed["weeks_13w"] == before["weeks_13w"], "the number of weeks depends on their values"
    pyarrow.parquet.write_table(original, repository.source)


print("seed", SEED)
with temporary_folder() as temporary:
    run_demo(temporary / "sales", 6, 5, 1)
    shutil.rmtree(temporary / "sales/models")
    sales = Repository(temporary / "sales")
    for number in (2, 27, 51):
        check_week(sales, number, random.Random(SEED + number))
print("no week leaks into its own features")
