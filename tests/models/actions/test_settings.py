from __future__ import annotations

from pathlib import Path

import pytest

from models.actions.settings import ActionSettings, Required, StoreLimits, read_settings


def test_nothing_written_is_every_default() -> None:
    assert read_settings("") == ActionSettings()


def test_what_is_written_holds() -> None:
    found = read_settings(
        """
        [economics]
        margin = 0.25
        margin_by_category = { BEER = 0.2 }
        [limits]
        budget = 100
        excluded = ["9"]
        [limits.store]
        display_slots = 2
        [limits.stores."367"]
        actions = 5
        [[limits.required]]
        store_id = "367"
        product_id = "1"
        action = "display"
        [exploration]
        share = 0
        """
    )
    assert found.economics.margin_by_category == {"BEER": 0.2}
    assert found.limits.of("1") == StoreLimits(display_slots=2)
    assert found.limits.of("367") == StoreLimits(display_slots=2, actions=5)
    assert found.limits.required == (Required("367", "1", "display"),)
    assert found.limits.excluded == {"9"}
    assert found.exploration.share == 0


def test_the_projects_own_file_is_read() -> None:
    text = (Path(__file__).parents[3] / "actions.toml").read_text(encoding="utf-8")
    assert read_settings(text).limits.budget == 20000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budget = ", "not TOML"),
        ("[limit]", "limit is no setting"),
        ("[limits]\nbugdet = 3", "bugdet is no setting; there are budget"),
        ("[limits.store]\ndisplay = 3", "limits.store: display is no setting"),
        ('[limits]\nbudget = "much"', "budget is 'much'; a number is needed"),
        ("[limits]\nbudget = -1", "a budget is not negative"),
        ("[economics]\nmargin = 30", "margin of margin is 30"),
        ("[economics]\nmargin_band = 0.5", "margin_band"),
        ("[economics]\npanel_share = 0", "panel_share"),
        ("[exploration]\nshare = 1", "exploration share"),
        ('[[limits.required]]\nstore_id = "1"', "missing 2 required"),
        ('[limits.stores]\n"367" = 3', "is a table"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings(text)
