"""A small lake of its own with raw tables, and dbt as a program that builds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from checks.contracts.contract import Contract
from checks.contracts.raw import (
    BASKET_LINES,
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    COUPON_REDEMPTIONS,
    COUPONS,
    HOUSEHOLDS,
    PRODUCTS,
    PROMOTIONS,
    STORES,
)
from models.calendar import end_of_week, weeks_between
from resources.dbt_process import PROJECT_DIR, dbt_environment, guarded_executable
from resources.lake import Lake

ROOT = PROJECT_DIR.parent
FORKS = Path(__file__).with_name("dbt_forks.py")
TIME_ZONE = "America/New_York"
FIRST = date(2017, 1, 2)
# Enough weeks that a build of promotions can be killed in the middle.
WEEKS = weeks_between(FIRST, FIRST + timedelta(weeks=12))
PRODUCTS_PER_WEEK = 30

HOUSEHOLD = "000000000001"
WEEKLY_MARTS = (
    "dim_product",
    "dim_store",
    "dim_household",
    "dim_campaign",
    "fct_basket_line",
    "fct_promotion",
    "fct_store_product_week",
    "fct_campaign_target",
    "fct_coupon_product",
    "fct_coupon_redemption",
)


def frame(contract: Contract, rows: list[dict]) -> pl.DataFrame:
    """Rows of a raw table; ``known_at`` is the end of the row's week."""
    known = [{"known_at": end_of_week(r["week_start"], time_zone=TIME_ZONE)} | r for r in rows]
    return pl.DataFrame(known, schema={c.name: c.dtype for c in contract.columns})


def lines(week: date, *, products: int = PRODUCTS_PER_WEEK, price: float = 1.1) -> list[dict]:
    """One basket of ``products`` lines, a third of a cent apart: sums must not depend on order."""
    return [
        {
            "week_start": week,
            "household_id": HOUSEHOLD,
            "store_id": str(i % 3),
            "basket_id": f"{week}-{i % 5}",
            "product_id": str(i % (products - 3)),
            "quantity": i % 4,
            "sales_value": round(price * (i % 4) + i / 300, 4),
            "retail_disc": 0.1 * (i % 2),
            "coupon_disc": 0.0,
            "coupon_match_disc": 0.0,
            "sold_at": datetime.combine(week, datetime.min.time()) + timedelta(days=2, minutes=i),
        }
        for i in range(products)
    ]


def promotions(week: date, *, display: str) -> list[dict]:
    rows = [
        {
            "week_start": week,
            "product_id": str(i),
            "store_id": "1",
            "display": display,
            "mailer": "0",
        }
        for i in range(PRODUCTS_PER_WEEK)
    ]
    return [*rows, rows[0] | {"display": "0", "mailer": "A"}]


@dataclass(frozen=True)
class Done:
    """How one dbt ended."""

    code: int
    output: str


class Forks:
    """The process of ``dbt_forks``: dbt without paying for its imports each time."""

    def __init__(self, *, environment: Mapping[str, str], folder: Path) -> None:
        self._output = folder / "dbt.out"
        self._environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, str(FORKS)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    def run(self, arguments: Sequence[str], **environment: str) -> Done:
        code = self._ask(
            arguments=list(arguments),
            environment=self._environment | environment,
            output=str(self._output),
        )
        return Done(code=int(code), output=self._output.read_text())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _ask(self, **request: object) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer, "dbt_forks has died; its message is above"
        return answer


@dataclass(frozen=True)
class TinyLake:
    """A lake under one folder, the executable that builds it, and what is in it."""

    home: Path
    lake: Lake
    environment: Mapping[str, str]
    executable: Path
    forks: Forks

    @classmethod
    def make(cls, home: Path, *, project_dir: Path = PROJECT_DIR) -> TinyLake:
        lake = Lake(
            catalog=f"sqlite:{home / 'lake' / 'catalog.sqlite'}",
            data_path=str(home / "lake" / "data"),
            lock_path=home / "lake" / "write.lock",
            threads=1,
        )
        lake.cursor().close()  # the catalog is made before dbt or a writer asks for it
        environment = dbt_environment(
            catalog=lake.catalog,
            data_path=lake.data_path,
            lock_path=lake.lock_path,
            temp_directory=home / "spill",
            memory_limit="1GB",
            lock_timeout_s=60,
        ) | {
            "DBT_PROJECT_DIR": str(project_dir),
            "DBT_PROFILES_DIR": str(project_dir),
            "DBT_TARGET_PATH": str(home / "target"),
            "DBT_LOG_PATH": str(home / "target"),
        }
        return cls(
            home=home,
            lake=lake,
            environment=environment,
            executable=guarded_executable(home / "bin", environment),
            forks=Forks(environment=environment, folder=home),
        )

    def put(self, contract: Contract, rows: list[dict], *, weeks: list[date]) -> None:
        """Replace raw weeks, as ingest does: under the lock, in one transaction."""
        with self.lake.write() as connection:
            self.lake.replace(connection, contract, [frame(contract, rows)], weeks=weeks)

    def put_year(self, *, display: str = "A") -> None:
        first = WEEKS[0]
        for contract, rows in (
            (BASKET_LINES, [r for w in WEEKS for r in lines(w)]),
            (PROMOTIONS, [r for w in WEEKS for r in promotions(w, display=display)]),
            (
                PRODUCTS,
                [
                    {"week_start": first, "product_id": str(i), "category": "TEA"}
                    for i in range(PRODUCTS_PER_WEEK)
                ],
            ),
            (
                STORES,
                [{"week_start": first, "store_id": str(i), "channel": "retail"} for i in range(3)],
            ),
            (HOUSEHOLDS, [{"week_start": first, "household_id": HOUSEHOLD, "age": "35-44"}]),
            (
                CAMPAIGNS,
                [
                    {
                        "week_start": first,
                        "campaign_id": "1",
                        "campaign_type": "Type A",
                        "start_date": first + timedelta(days=7),
                        "end_date": first + timedelta(days=30),
                    }
                ],
            ),
            (
                CAMPAIGN_TARGETS,
                [{"week_start": first, "campaign_id": "1", "household_id": HOUSEHOLD}],
            ),
            (
                COUPONS,
                [
                    {
                        "week_start": first,
                        "coupon_id": "9",
                        "product_id": "1",
                        "campaign_id": "1",
                    }
                ],
            ),
            (
                COUPON_REDEMPTIONS,
                [
                    {
                        "week_start": WEEKS[2],
                        "household_id": HOUSEHOLD,
                        "coupon_id": "9",
                        "campaign_id": "1",
                        "redeemed_on": WEEKS[2],
                    }
                ],
            ),
        ):
            self.put(contract, rows, weeks=WEEKS)

    def dbt(self, *arguments: str, weeks: tuple[date, date] | None = None, ok: bool = True) -> Done:
        """Run dbt to its end.

        Raises:
            AssertionError: It ended otherwise than ``ok`` says.
        """
        done = self.forks.run([*arguments, *week_vars(weeks)])
        assert (done.code == 0) == ok, done.output
        return done

    def start(
        self, *arguments: str, executable: Path | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start dbt as Dagster does: by its launcher, in a process of its own."""
        return subprocess.Popen(
            [str(executable or self.executable), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def query(self, sql: str) -> list[tuple]:
        with self.lake.read() as connection:
            return connection.execute(sql).fetchall()

    def content(self, mart: str, *, where: str = "true") -> tuple[int, str]:
        """Rows of a mart and a hash of them that does not depend on their order."""
        ((rows, digest),) = self.query(
            f"SELECT count(*), coalesce(sum(hash(t))::VARCHAR, '') "
            f"FROM lake.marts.{mart} t WHERE {where}"
        )
        return rows, digest

    def contents(self) -> dict[str, tuple[int, str]]:
        return {mart: self.content(mart) for mart in WEEKLY_MARTS}


def week_vars(weeks: tuple[date, date] | None) -> list[str]:
    if weeks is None:
        return []
    first, last = weeks
    return ["--vars", json.dumps({"min_week": str(first), "max_week": str(last)})]


def wait_for(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Look until ``condition`` holds.

    Raises:
        AssertionError: It did not in time.
    """
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.005)
