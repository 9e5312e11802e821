"""A mart whose contract changes: what is added in place, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_lake import WEEKS, TinyLake, week_vars

from resources.dbt_process import PROJECT_DIR

pytestmark = pytest.mark.slow

ONE_WEEK = ["run", "--select", "fct_coupon_redemption", *week_vars((WEEKS[2], WEEKS[2]))]
NEW_COLUMN = """
      - name: receipt
        data_type: varchar
        description: "Receipt of the redemption"
"""


def test_a_nullable_column_is_added_and_a_retyped_one_is_refused(
    built: TinyLake, tmp_path: Path
) -> None:
    project = tmp_path / "dbt"
    shutil.copytree(PROJECT_DIR, project, ignore=shutil.ignore_patterns("target", "logs"))
    marts = project / "models" / "marts"
    sql, contract = marts / "fct_coupon_redemption.sql", marts / "fct_coupon_redemption.yml"
    environment = {
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
    }
    ((snapshot,),) = built.query("SELECT id FROM lake.current_snapshot()")
    old = built.query("SELECT * FROM lake.marts.fct_coupon_redemption")
    try:
        sql.write_text(
            sql.read_text().replace(
                "select * from redemptions", "select *, 'r' as receipt from redemptions"
            )
        )
        contract.write_text(contract.read_text().rstrip() + NEW_COLUMN)
        done = built.forks.run(ONE_WEEK, **environment)
        assert done.code == 0, done.output
        assert built.query("SELECT receipt FROM lake.marts.fct_coupon_redemption") == [("r",)]
        was = f"SELECT * FROM lake.marts.fct_coupon_redemption AT (VERSION => {snapshot})"
        assert built.query(was) == old

        retyped = contract.read_text().replace(
            "name: redeemed_on\n        data_type: date",
            "name: redeemed_on\n        data_type: timestamp",
        )
        assert retyped != contract.read_text()
        contract.write_text(retyped)
        sql.write_text(
            sql.read_text().replace(
                "select *, 'r'", "select * replace (redeemed_on::timestamp as redeemed_on), 'r'"
            )
        )
        done = built.forks.run(ONE_WEEK, **environment)
        assert done.code == 1
        assert "redeemed_on is date in the lake, timestamp in the contract" in done.output
        assert "--full-refresh" in done.output
        assert built.query("SELECT receipt FROM lake.marts.fct_coupon_redemption") == [("r",)]
    finally:
        built.dbt("run", "--select", "fct_coupon_redemption", "--full-refresh")
    assert built.query("SELECT * FROM lake.marts.fct_coupon_redemption") == old
