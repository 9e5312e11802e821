"""The lake: DuckLake tables of Parquet files under a SQL catalog that many processes may write.

SQLite is the default catalog; it admits one writer, so every write transaction holds one
inter-process file lock (without it most concurrent commits fail with "database is locked").
On PostgreSQL an advisory lock of the catalog does the same for writers of many machines (without it
one of two that replace weeks of a table fails with a conflict). Reads never wait.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from checks.contracts.contract import Contract
from checks.schema_evolution import TABLE_PROPERTIES_DDL, SchemaChange, compare
from resources.content_version import Contents, PartitionVersion, contents, versions
from resources.lake_database import BUSY_TIMEOUT_MS, database, write_lock
from resources.settings import Settings

# Longer than the longest write of a range on one machine; past it something is stuck.
LOCK_TIMEOUT_S = 900
# Where DuckDB attaches the catalog's own tables.
_META = "__ducklake_metadata_lake"

SQL_TYPES: dict[type[pl.DataType] | pl.DataType, str] = {
    pl.String: "VARCHAR",
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.UInt32: "UINTEGER",
    pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    pl.Datetime: "TIMESTAMP",
    pl.Binary: "BLOB",
    pl.List(pl.String): "VARCHAR[]",
    pl.List(pl.Float32): "FLOAT[]",
    pl.List(pl.Float64): "DOUBLE[]",
}


def sql_type(dtype: pl.DataType) -> str:
    """DuckDB type that stores ``dtype``.

    Raises:
        TypeError: No lake type is declared for it.
    """
    for known, name in SQL_TYPES.items():
        if dtype == known:
            return name
    raise TypeError(f"no lake type is declared for {dtype}; add it to resources.lake.SQL_TYPES")


@dataclass(frozen=True)
class Staged:
    """Rows in a folder of Parquet files, where no reader looks, and what they are."""

    folder: Path
    contents: Contents


@dataclass(frozen=True)
class Lake:
    """A DuckLake by its catalog and data path.

    Attributes:
        catalog: What follows ``ducklake:`` in ATTACH, e.g. ``sqlite:/data/catalog.sqlite``.
        data_path: Folder or object-store prefix of the Parquet files.
        lock_path: The writers' lock; ``None`` for PostgreSQL, whose catalog holds it.
        threads: Threads of this process's DuckDB.
        memory_limit: What DuckDB may hold, e.g. ``2GB``.
    """

    catalog: str
    data_path: str
    lock_path: Path | None
    threads: int = 2
    memory_limit: str = "2GB"
    lock_timeout_s: float = LOCK_TIMEOUT_S

    @classmethod
    def of(cls, settings: Settings) -> Lake:
        return cls(
            catalog=settings.catalog_uri,
            data_path=settings.data_path,
            lock_path=settings.write_lock,
            threads=settings.threads,
            memory_limit=settings.memory_limit,
        )

    @property
    def attach_sql(self) -> str:
        options = [f"DATA_PATH '{self.data_path}'"]
        if self.catalog.startswith("sqlite:"):
            options += ["META_JOURNAL_MODE 'WAL'", f"META_BUSY_TIMEOUT {BUSY_TIMEOUT_MS}"]
        return f"ATTACH 'ducklake:{self.catalog}' AS lake ({', '.join(options)})"

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own on this process's DuckDB; the caller closes it."""
        return database(self).cursor()

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self.cursor()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def write(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One write transaction: all of it is seen, or nothing.

        Raises:
            TimeoutError: Another writer held the lock too long.
        """
        # Opening takes the lock as well, so it comes first.
        database(self)
        with write_lock(self), self.read() as connection:
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    # -- reading ---------------------------------------------------------------------------------

    def exists(self, table: str) -> bool:
        with self.read() as connection:
            return _stored_columns(connection, table) is not None

    def scan(
        self,
        contract: Contract,
        *,
        first: date | None = None,
        last: date | None = None,
        snapshot: int | None = None,
    ) -> pl.LazyFrame:
        """A table, or its partitions from ``first`` to ``last``, as a lazy frame.

        Columns are the contract's, in its order; one that a file does not have yet is null. A
        table that does not exist yet has no rows. The frame keeps the files of the moment: later
        writes do not change it.
        """
        with self.read() as connection:
            stored = _stored_columns(connection, contract.table, snapshot)
            if stored is None:
                return contract.empty().lazy()
            files = self._files(connection, contract, first=first, last=last, snapshot=snapshot)
            if files is not None:
                # Polars reads the files itself: DuckDB's lazy scans deadlock when one plan joins
                # several of them.
                schema = {c.name: c.dtype for c in contract.columns}
                if not files:
                    return contract.empty().lazy()
                return pl.scan_parquet(
                    files,
                    schema=schema,
                    missing_columns="insert",
                    extra_columns="ignore",
                    hive_partitioning=False,
                    glob=False,
                )
            return self._query(connection, contract, stored, first, last, snapshot).lazy()

    def _files(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        *,
        first: date | None,
        last: date | None,
        snapshot: int | None,
    ) -> list[str] | None:
        """The Parquet files that hold exactly the asked partitions, or ``None`` if none do alone.

        Rows deleted one by one, rows kept in the catalog, earlier snapshots and object stores go
        through DuckDB.
        """
        # A merged file may hold rows of later snapshots; DuckDB knows which.
        if "://" in self.data_path or snapshot is not None:
            return None
        schema, name = contract.table.split(".")
        listed = connection.execute(
            "SELECT data_file, delete_file "
            f"FROM ducklake_list_files('lake', '{name}', schema => '{schema}')"
        ).fetchall()
        inlined = _one(
            connection,
            f"""
            SELECT count(*) FROM {_META}.ducklake_inlined_data_tables
            JOIN {_META}.ducklake_table t USING (table_id)
            JOIN {_META}.ducklake_schema s ON s.schema_id = t.schema_id
            WHERE s.schema_name = '{schema}' AND t.table_name = '{name}'
            """,
        )
        if inlined or any(deleted is not None for _, deleted in listed):
            return None
        column = contract.partition_column
        if column is None or (first is None and last is None):
            return [path for path, _ in listed]
        kept = []
        for path, _ in listed:
            found = re.search(rf"/{column}=(\d{{4}}-\d{{2}}-\d{{2}})/", path)
            if found is None:
                return None
            week = date.fromisoformat(found[1])
            if (first is None or week >= first) and (last is None or week <= last):
                kept.append(path)
        return kept

    def _query(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        stored: dict[str, str],
        first: date | None,
        last: date | None,
        snapshot: int | None,
    ) -> pl.DataFrame:
        columns = ", ".join(
            f'"{c.name}"' if c.name in stored else f'NULL::{sql_type(c.dtype)} AS "{c.name}"'
            for c in contract.columns
        )
        version = f" AT (VERSION => {snapshot})" if snapshot is not None else ""
        rows = connection.sql(
            f"SELECT {columns} FROM lake.{contract.table}{version}"
            + _where(contract.partition_column, first, last)
        ).pl()
        return rows.cast({c.name: c.dtype for c in contract.columns})  # type: ignore[arg-type]

    def snapshot_id(self) -> int:
        with self.read() as connection:
            return _one(connection, "SELECT id FROM lake.current_snapshot()")

    def written_since(
        self, connection: duckdb.DuckDBPyConnection, table: str, snapshot: int
    ) -> bool:
        """Whether rows of a table were added or removed after a snapshot."""
        number = _table_id(connection, table)
        later = connection.execute(
            f"SELECT changes FROM lake.snapshots() WHERE snapshot_id > {snapshot}"
        ).fetchall()
        return any(
            str(number) in tables
            for (changes,) in later
            for kind, tables in changes.items()
            if "insert" in kind or "delete" in kind
        )

    def has_snapshot(self, snapshot: int) -> bool:
        """Whether the lake can still be read as of a snapshot; old ones expire."""
        with self.read() as connection:
            counted = _one(
                connection, f"SELECT count(*) FROM lake.snapshots() WHERE snapshot_id = {snapshot}"
            )
        return counted > 0

    def table_bytes(self, table: str) -> int:
        """Bytes of the table's current Parquet files; small tables live in the catalog: 0."""
        with self.read() as connection:
            number = _table_id(connection, table)
            if number is None:
                return 0
            return _one(
                connection,
                f"SELECT coalesce(sum(file_size_bytes), 0)::BIGINT FROM {_META}.ducklake_data_file "
                f"WHERE end_snapshot IS NULL AND table_id = {number}",
            )

    # -- writing ---------------------------------------------------------------------------------

    def ensure(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        *,
        weeks: Sequence[date] = (),
    ) -> SchemaChange:
        """Bring the stored table to the contract's schema, inside the caller's transaction.

        Args:
            connection: From ``write()``.
            contract: The declared schema.
            weeks: Partitions about to be replaced; a breaking change must replace them all.

        Raises:
            checks.schema_evolution.BreakingSchemaChangeError: The change is not declared, or the
                backfill leaves weeks out.
        """
        schema = contract.table.split(".")[0]
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.quality")
        connection.execute(TABLE_PROPERTIES_DDL)
        stored = _stored_columns(connection, contract.table)
        if stored is None:
            _create(connection, contract)
            change = SchemaChange(kind="created", version=contract.version)
        else:
            present = _weeks_present(connection, contract) if contract.partition_column else []
            change = compare(
                contract=contract,
                declared={c.name: sql_type(c.dtype) for c in contract.columns},
                stored=stored,
                stored_version=_stored_version(connection, contract.table),
                present=present,
                replaced=list(weeks),
            )
            for name in change.added:
                kind = next(sql_type(c.dtype) for c in contract.columns if c.name == name)
                connection.execute(f'ALTER TABLE lake.{contract.table} ADD COLUMN "{name}" {kind}')
            if change.kind == "rebuilt":
                # The old table stays readable in its snapshots.
                connection.execute(f"DROP TABLE lake.{contract.table}")
                _create(connection, contract)
        if change.kind != "none":
            connection.execute(
                "INSERT INTO lake.quality.schema_changes VALUES (?, ?, ?, ?, now()::TIMESTAMP)",
                [contract.table, contract.version, change.kind, change.detail],
            )
        return change

    def replace(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        parts: Sequence[pl.DataFrame | Staged],
        *,
        weeks: Sequence[date] | None,
    ) -> list[PartitionVersion]:
        """Replace whole partitions (or the whole table) inside the caller's transaction.

        Args:
            connection: From ``write()``.
            contract: Of the table.
            parts: Frames, or what ``stage`` made of them, that together hold the new rows. Staged
                files are moved into the lake.
            weeks: Partitions to replace; ``None`` for a table without partitions.

        Returns:
            Rows and data version of each replaced partition, those left empty included.
        """
        self.ensure(connection, contract, weeks=weeks or ())
        column = contract.partition_column
        where = _where_in(column, weeks) if weeks is not None and column else ""
        connection.execute(f"DELETE FROM lake.{contract.table}{where}")
        if "://" in self.data_path:
            self._insert(connection, contract, parts)
            made = [p.contents if isinstance(p, Staged) else contents(p, contract) for p in parts]
        else:
            made = self._adopt(connection, contract, parts)
        return versions(made, weeks)

    def append(
        self, connection: duckdb.DuckDBPyConnection, contract: Contract, frame: pl.DataFrame
    ) -> None:
        """Add validated rows inside the caller's transaction, which says that they are new."""
        self.ensure(connection, contract)
        if frame.height:
            self._insert(connection, contract, [frame.select(contract.names)])

    def _insert(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        parts: Sequence[pl.DataFrame | Staged],
    ) -> None:
        names = ", ".join(f'"{n}"' for n in contract.names)
        for part in parts:
            if isinstance(part, Staged):
                rows = f"read_parquet('{part.folder}/**/*.parquet', hive_partitioning = false)"
                if not any(part.folder.rglob("*.parquet")):
                    continue
            else:
                connection.register("liftgraph_part", part.to_arrow())
                rows = "liftgraph_part"
            connection.execute(
                f"INSERT INTO lake.{contract.table} ({names}) SELECT {names} FROM {rows}"
            )
            if not isinstance(part, Staged):
                connection.unregister("liftgraph_part")

    def _adopt(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        parts: Sequence[pl.DataFrame | Staged],
    ) -> list[Contents]:
        """Move files into the lake and name them in its catalog: no row is written twice.

        Files moved by a transaction that does not commit are seen by nobody; maintenance removes
        them.
        """
        schema, name = contract.table.split(".")
        table = Path(self.data_path) / schema / name
        adopted, made = [], []
        for number, part in enumerate(parts):
            staged = part
            if isinstance(staged, pl.DataFrame):
                staged = stage(staged, contract, table / f".{uuid.uuid4().hex}.{number}")
            if not staged.folder.is_dir():
                raise NotADirectoryError(
                    f"{staged.folder} is no folder of staged rows; make it with stage()"
                )
            for file in sorted(staged.folder.rglob("*.parquet")):
                week = file.parent.name if contract.partition_column else ""
                target = table / week / f"{uuid.uuid4().hex}.parquet"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, target)
                adopted.append(str(target))
            shutil.rmtree(staged.folder, ignore_errors=True)
            made.append(staged.contents)
        if adopted:
            connection.execute(
                f"CALL ducklake_add_data_files('lake', '{name}', ?, schema => '{schema}', "
                f"hive_partitioning => {contract.partition_column is not None})",
                [adopted],
            )
        return made


def stage(frame: pl.DataFrame, contract: Contract, folder: Path) -> Staged:
    """Write a frame as Parquet, a file for each partition, where no reader looks.

    Args:
        frame: Validated rows.
        contract: Of the table.
        folder: Made; ``<partition column>=<week>/rows.parquet`` in it, or ``rows.parquet``.
    """
    column = contract.partition_column
    folder.mkdir(parents=True, exist_ok=True)
    rows = frame.select(contract.names)
    places = {"": rows} if frame.height else {}
    if column is not None:
        weeks = rows.partition_by(column, as_dict=True)
        places = {f"{column}={week}": part for (week,), part in weeks.items()}
    for place, part in places.items():
        (folder / place).mkdir(exist_ok=True)
        part.write_parquet(folder / place / "rows.parquet", compression="zstd", compression_level=1)
    return Staged(folder, contents(frame, contract))


def _create(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    columns = ", ".join(f'"{c.name}" {sql_type(c.dtype)}' for c in contract.columns)
    connection.execute(f"CREATE TABLE lake.{contract.table} ({columns})")
    if contract.partition_column:
        connection.execute(
            f'ALTER TABLE lake.{contract.table} SET PARTITIONED BY ("{contract.partition_column}")'
        )


def _stored_columns(
    connection: duckdb.DuckDBPyConnection, table: str, snapshot: int | None = None
) -> dict[str, str] | None:
    version = f" AT (VERSION => {snapshot})" if snapshot is not None else ""
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM lake.{table}{version}").fetchall()
    except duckdb.CatalogException:
        return None
    return {row[0]: row[1] for row in rows}


def _stored_version(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return _one(
        connection,
        "SELECT coalesce(max(contract_version), 1) FROM lake.quality.schema_changes "
        f"WHERE table_name = '{table}'",
    )


def _weeks_present(connection: duckdb.DuckDBPyConnection, contract: Contract) -> list[date]:
    rows = connection.execute(
        f'SELECT DISTINCT "{contract.partition_column}" FROM lake.{contract.table} ORDER BY 1'
    ).fetchall()
    return [row[0] for row in rows]


def _table_id(connection: duckdb.DuckDBPyConnection, table: str) -> int | None:
    """What the catalog calls a table as it is now; a rebuilt one is another."""
    found = connection.execute(
        f"SELECT t.table_id FROM {_META}.ducklake_table t "
        f"JOIN {_META}.ducklake_schema s USING (schema_id) "
        "WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL "
        "AND s.schema_name = ? AND t.table_name = ?",
        table.split("."),
    ).fetchone()
    return found[0] if found else None


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    if row is None:
        raise LookupError(f"no row from: {query}")
    return row[0]


def _where(column: str | None, first: date | None, last: date | None) -> str:
    if column is None or (first is None and last is None):
        return ""
    bounds = []
    if first is not None:
        bounds.append(f"\"{column}\" >= DATE '{first}'")
    if last is not None:
        bounds.append(f"\"{column}\" <= DATE '{last}'")
    return " WHERE " + " AND ".join(bounds)


def _where_in(column: str, weeks: Sequence[date]) -> str:
    if not weeks:
        return " WHERE false"
    listed = ", ".join(f"DATE '{w}'" for w in weeks)
    return f' WHERE "{column}" IN ({listed})'
