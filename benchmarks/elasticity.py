"""The price elasticity in anybody's sales, and whether comparing products misleads.

    python benchmarks/elasticity.py FILE --sales C --price C [--group C] [--feature C]
        [--cluster C] [--json FILE]

FILE is a CSV or Parquet file with one row per product and occasion; sales and prices are above
zero. Without ``--group`` there is only the pooled estimate, and a warning.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import write_result
from models.demand.elasticity import Elasticity, elasticity


def read(path: Path) -> pl.DataFrame:
    """A CSV or Parquet file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file {path}; name a CSV or Parquet file of sales and prices")
    if path.suffix in {".parquet", ".pq"}:
        return pl.read_parquet(path)
    if path.suffix in {".csv", ".gz"}:
        return pl.read_csv(path, infer_schema_length=None)
    raise ValueError(f"{path} is neither Parquet nor CSV; convert it to one of them")


def main(arguments: list[str] | None = None) -> int:
    """Run it; 2 if the data cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="CSV or Parquet file")
    parser.add_argument("--sales", required=True, help="column of quantities")
    parser.add_argument("--price", required=True, help="column of prices")
    parser.add_argument("--group", help="column that tells products or brands apart")
    parser.add_argument("--feature", help="column that says whether it was advertised")
    parser.add_argument("--cluster", help="column of stores, whose errors go together")
    parser.add_argument("--seed", type=int, default=1, help="of the folds")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    errors = Console(stderr=True, highlight=False)
    try:
        found = elasticity(
            read(given.data),
            sales=given.sales,
            price=given.price,
            group=given.group,
            feature=given.feature,
            cluster=given.cluster,
            seed=given.seed,
        )
    except (ValueError, FileNotFoundError, pl.exceptions.PolarsError) as error:
        errors.print(f"benchmarks/elasticity.py: {error}", style="bold red", markup=False)
        return 2
    Console().print(_table(found, title=f"{given.data.name}: {found.rows:,} rows"))
    for warning in found.warnings:
        Console(highlight=False).print(f"WARNING: {warning}", style="bold", markup=False)
    if given.json:
        write_result(
            given.json,
            benchmark="elasticity",
            figures={
                "rows": found.rows,
                "groups": found.groups,
                "clusters": found.clusters,
                "confounding": found.confounding,
                "price_variance_between_groups": found.between,
                "methods": {
                    method: {term: e.as_dict() for term, e in terms.items()}
                    for method, terms in found.methods.items()
                },
                "warnings": list(found.warnings),
                "seconds": time.perf_counter() - started,
            },
            ratios={},
        )
        print(f"written to {given.json}")
    return 0


def _table(found: Elasticity, *, title: str) -> Table:
    table = Table(title=title)
    table.add_column("method")
    terms = list(next(iter(found.methods.values())))
    for term in terms:
        table.add_column(f"{term} (95 %)", justify="right", no_wrap=True)
    for method, estimates in found.methods.items():
        table.add_row(
            method,
            *(
                f"{e.estimate:+.3f} ({e.low:+.3f} to {e.high:+.3f})"
                for e in (estimates[term] for term in terms)
            ),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
