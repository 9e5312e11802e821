"""Settings: what is derived from what, and mistakes named where they are made."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from resources.settings import PROJECT, Settings, get_settings


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def test_everything_lies_in_the_home(tmp_path: Path) -> None:
    made = settings(home=tmp_path)
    for place in (made.landing_dir, made.lake_dir, made.dagster_home, made.online_dir):
        assert place.is_relative_to(tmp_path)
    for address in (made.catalog_uri, made.data_path, made.tracking_uri, made.study_url):
        assert str(tmp_path) in address


def test_a_relative_home_is_made_absolute() -> None:
    assert settings(home=Path("somewhere")).home.is_absolute()


def test_a_sqlite_catalog_has_a_lock_and_postgresql_none(tmp_path: Path) -> None:
    assert settings(home=tmp_path).write_lock == tmp_path / "lake" / "write.lock"
    assert settings(home=tmp_path, catalog="postgres:dbname=lake").write_lock is None


@pytest.mark.parametrize("name", ["first_week", "last_week"])
def test_a_week_that_is_no_monday_names_the_monday(name: str) -> None:
    with pytest.raises(ValidationError, match=r"2017-01-04 is a Wednesday; .* e.g. 2017-01-02"):
        settings(**{name: "2017-01-04"})


def test_the_coming_week_follows_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().coming_week == date(2018, 1, 1)
    monkeypatch.setenv("LIFTGRAPH_LAST_WEEK", "")
    assert settings().last_week is None
    assert settings().coming_week is None


def test_the_environment_sets_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFTGRAPH_DISPLAY_CODES", '["0", "X"]')
    assert settings().display_codes == frozenset({"0", "X"})


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValidationError, match="complete_journey"):
        settings(source="someone")


def test_preparing_twice_is_the_same_and_leaves_nothing_else(home) -> None:
    home.settings.prepare()
    assert (home.settings.dagster_home / "dagster.yaml").read_text() == (
        PROJECT / "dagster.yaml"
    ).read_text()
    assert [p.name for p in home.settings.dagster_home.iterdir()] == ["dagster.yaml"]
    assert home.landing.is_dir()


def test_settings_are_read_once(home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFTGRAPH_THREADS", "7")
    assert get_settings().threads == 2
    get_settings.cache_clear()
    assert get_settings().threads == 7
