"""Every setting of liftgraph, from the environment (``LIFTGRAPH_*``) or ``.env``."""

from __future__ import annotations

import os
import shutil
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.calendar import ONE_WEEK, monday_of

PROJECT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Where things live, which calendar rules, and what the machine may use."""

    model_config = SettingsConfigDict(
        env_prefix="LIFTGRAPH_", env_file=PROJECT / ".env", extra="ignore", frozen=True
    )

    home: Path = Field(PROJECT / ".liftgraph", description="Everything liftgraph writes")
    reports: Path = Field(PROJECT / "reports", description="Reports for people and machines")
    landing: Path | None = Field(None, description="Weekly drops; default <home>/landing")

    source: Literal["complete_journey", "own"] = Field(
        "complete_journey", description="Who lays down the drops: the bundled year, or you"
    )
    time_zone: str = Field("America/New_York", description="Business time zone: when a week starts")
    first_week: date = Field(date(2016, 12, 26), description="Monday of the first data week")
    last_week: date | None = Field(
        date(2017, 12, 25),
        description="Monday of the last data week; empty for a live chain, whose calendar goes on",
    )
    late_weeks: int = Field(4, ge=0, description="Trailing weeks rebuilt for late data")
    label_allowance_days: int = Field(7, ge=0, description="Wait for late sales before labels")
    display_codes: frozenset[str] | None = Field(
        None, description="Legal display codes; empty: those of the bundled year, or any for own"
    )
    mailer_codes: frozenset[str] | None = Field(None, description="Legal mailer codes; as above")

    catalog: str | None = Field(
        None,
        description="DuckLake catalog, e.g. 'postgres:dbname=lake host=db'; default SQLite in home",
    )
    lake_data: str | None = Field(None, description="Where the lake's Parquet files live")
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    memory_limit: str = Field("2GB", description="What DuckDB may hold in memory")
    mlflow_uri: str | None = Field(None, description="MLflow; default SQLite in home")
    optuna_url: str | None = Field(None, description="Optuna storage; default SQLite in home")
    release_url: str | None = Field(
        None,
        description="Release ledger, e.g. 'postgresql://user@host/db'; default SQLite in home",
    )
    pseudonym_key: SecretStr | None = Field(None, description="Key of the household pseudonyms")

    seed: int = 20170101
    trials: int = Field(4, ge=1, description="Optuna trials of each model family")
    serve_port: int = Field(3000, ge=1, le=65535)

    @field_validator("last_week", mode="before")
    @classmethod
    def _empty_is_open(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("home", "reports", "landing")
    @classmethod
    def _is_absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else None

    @field_validator("first_week", "last_week")
    @classmethod
    def _is_monday(cls, value: date | None) -> date | None:
        if value is not None and value.weekday() != 0:
            raise ValueError(
                f"{value} is a {value:%A}; weeks are keyed by Mondays, e.g. {monday_of(value)}"
            )
        return value

    @property
    def landing_dir(self) -> Path:
        return self.landing or self.home / "landing"

    @property
    def lake_dir(self) -> Path:
        return self.home / "lake"

    @property
    def catalog_uri(self) -> str:
        """What follows ``ducklake:`` in ATTACH."""
        return self.catalog or f"sqlite:{self.lake_dir / 'catalog.sqlite'}"

    @property
    def data_path(self) -> str:
        return self.lake_data or str(self.lake_dir / "data")

    @property
    def write_lock(self) -> Path | None:
        """The writers' file lock; a PostgreSQL catalog holds its own."""
        return self.lake_dir / "write.lock" if self.catalog_uri.startswith("sqlite:") else None

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def study_url(self) -> str:
        return self.optuna_url or f"sqlite:///{self.home / 'optuna.db'}"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy address of the release ledger."""
        return self.release_url or f"sqlite:///{self.home / 'releases.db'}"

    @property
    def incidents_dir(self) -> Path:
        return self.home / "incidents"

    @property
    def online_dir(self) -> Path:
        return self.home / "online"

    @property
    def action_snapshot_dir(self) -> Path:
        return self.home / "actions"

    @property
    def online_history_dir(self) -> Path:
        return self.home / "online_history"

    @property
    def household_events_dir(self) -> Path:
        return self.home / "household_events"

    @property
    def decisions_dir(self) -> Path:
        return self.home / "decisions"

    @property
    def bentoml_home(self) -> Path:
        return self.home / "bentoml"

    @property
    def coming_week(self) -> date | None:
        """The week plans and offers are for; ``None`` while the calendar is open."""
        return self.last_week + ONE_WEEK if self.last_week else None

    def prepare(self) -> Settings:
        """Make the folders, and point Dagster and BentoML into ``home``. Idempotent."""
        for folder in (
            self.landing_dir,
            self.lake_dir / "data",
            self.dagster_home,
            self.home / "mlflow" / "artifacts",
            self.home / "secrets",
            self.online_dir,
            self.bentoml_home,
            self.reports,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        (self.home / "secrets").chmod(0o700)
        instance_yaml = PROJECT / "dagster.yaml"
        if instance_yaml.exists():
            # Replaced whole: another process may be reading it.
            unfinished = self.dagster_home / f".dagster.yaml.{os.getpid()}"
            shutil.copyfile(instance_yaml, unfinished)
            unfinished.replace(self.dagster_home / "dagster.yaml")
        os.environ.setdefault("DAGSTER_HOME", str(self.dagster_home))
        os.environ.setdefault("BENTOML_HOME", str(self.bentoml_home))
        # Of resources/event_storage.py.
        os.environ.setdefault("LIFTGRAPH_EVENTS", str(self.dagster_home / "events"))
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
        return self


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
