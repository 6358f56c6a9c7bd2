#!/usr/bin/env python3
"""`gnomon asof` as a user runs it: asof.py GNOMON"""

import json

from program import EXHAUSTED, NOT_FOUND, USER, fail, run, temporary_folder

LABELS = """label,shop,item,ts
0,1,a,2026-01-05T00:00:00Z
1,1,b,2026-01-05T00:00:00Z
2,2,a,2026-01-05T00:00:00Z
3,,a,2026-01-05T00:00:00Z
4,1,a,2026-01-20T00:00:00Z
"""
PRICES = """shop,item,ts,made,price
1,a,2026-01-04T00:00:00Z,2026-01-04T00:00:00Z,1.5
1,a,2026-01-05T00:00:00Z,2026-01-05T02:00:00Z,2.5
1,a,2026-01-05T00:00:00Z,2026-01-05T01:00:00Z,3.5
1,b,2026-01-05T00:00:01Z,2026-01-05T00:00:01Z,4.5
2,a,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,5.5
"""
NEWS = """shop,ts,price,text
1,2026-01-01T00:00:00Z,9,"first, of one"
2,2026-01-05T00:00:00Z,8,first of two
"""


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def column(path, name) -> list:
    return [row[name] for row in rows(path)]


def check_results(folder) -> None:
    out = folder / "out.jsonl"
    prices = ["asof", "--left", folder / "labels.csv", "--right", folder / "prices.csv", "--by", "shop,item", "--on", "ts"]
    run(*prices, "--features", "price", "--out", out)
    assert column(out, "label") == [0, 1, 2, 3, 4]
    # Of two rows of one time the later one in the file.
    assert column(out, "price") == [3.5, None, 5.5, None, 3.5], column(out, "price")
    run(*prices, "--features", "price", "--created", "made", "--tolerance", "4d", "--out", out)
    assert column(out, "price") == [2.5, None, 5.5, None, None], column(out, "price")
    assert list(rows(out)[0]) == ["label", "shop", "item", "ts", "price"], rows(out)[0]

    # Two right tables with a column of one name; other formats.
    two = ["asof", "--left", folder / "labels.csv", "--right", folder / "news.csv", "--by", "shop", "--on", "ts"]
    run(*two, "--out", folder / "news.parquet")
    run("asof", "--left", folder / "news.parquet", "--right", folder / "news.csv", "--by", "shop", "--on", "ts",
        "--full-feature-names", "--out", out)
    assert column(out, "news__text") == ["first, of one"] * 2 + ["first of two", None, "first, of one"]
    fail("asof", "--left", folder / "news.parquet", "--right", folder / "news.csv", "--by", "shop", "--on", "ts",
         "--out", out, code=USER, says=["output column 'price' would occur twice", "full feature names"])


def check_reports(folder) -> None:
    arguments = ["asof", "--left", folder / "labels.csv", "--right", folder / "prices.csv", "--by", "shop,item", "--on",
                 "ts", "--features", "price"]
    out = folder / "out.parquet"
    plan = run(*arguments, "--explain")
    assert "broadcast, label-side kernel" in plan and "5 labels" in plan, plan
    assert not out.exists()
    plan = run(*arguments, "--explain", "--set", "broadcast_join_threshold_mb=0", "--set", "window_size_for_joins=30min")
    assert "partitioned by key" in plan and "windows of 30min" in plan, plan
    assert "partitioned by key" in json.loads(run(*arguments, "--explain", "--set", "enable_optimization=false", "--json"))["plan"]
    stats = json.loads(run(*arguments, "--out", out, "--json"))
    assert (stats["rows"], stats["null_labels"], stats["keys"]) == (5, 1, 3), stats
    assert stats["right"][0]["matches"] == 3, stats
    assert "3 labels matched" in run(*arguments, "--out", out, "--stats")
    results = []
    for settings in ([], ["--set", "enable_optimization=false"], ["--memory-limit", "1MiB"], ["--set", "max_workers=1"]):
        run(*arguments, "--out", folder / "out.csv", *settings)
        results.append((folder / "out.csv").read_bytes())
    assert len(set(results)) == 1


def check_errors(folder) -> None:
    def wrong(code, says, **changed):
        flags = {"left": folder / "labels.csv", "right": folder / "prices.csv", "by": "shop,item", "on": "ts",
                 "out": folder / "wrong.parquet"} | changed
        arguments = [part for name, value in flags.items() if value for part in (f"--{name.replace('_', '-')}", value)]
        fail("asof", *arguments, code=code, says=says)
        assert not (folder / "wrong.parquet").exists()

    wrong(NOT_FOUND, ["labels.csv: 'shp'", "did you mean 'shop'?"], by="shp")
    wrong(NOT_FOUND, ["no right table has a column 'prize'", "did you mean 'price'?"], features="prize")
    wrong(NOT_FOUND, ["missing.csv"], right=folder / "missing.csv")
    wrong(USER, ["column 'label' of", "labels.csv is no time: int64"], on="label")
    wrong(USER, ["join keys", "cannot be compared"], by="item", left=folder / "numbers.csv")
    wrong(USER, ["--out"], out="")
    wrong(USER, ["7x"], tolerance="7x")
    wrong(USER, ["window_size_for_joins", "'1 fortnight'"], set="window_size_for_joins=1 fortnight")
    wrong(NOT_FOUND, ["no such setting: 'max_worker'", "did you mean 'max_workers'?"], set="max_worker=1")
    wrong(USER, ["--memory-limit"], memory_limit="lots")
    wrong(EXHAUSTED, ["memory budget", "is exhausted"], memory_limit="100")


def main() -> None:
    with temporary_folder() as folder:
        for name, text in [("labels", LABELS), ("prices", PRICES), ("news", NEWS)]:
            (folder / f"{name}.csv").write_text(text)
        (folder / "numbers.csv").write_text("item,ts\n1,2026-01-05T00:00:00Z\n")
        check_results(folder)
        check_reports(folder)
        check_errors(folder)


if __name__ == "__main__":
    main()
