"""The training protocol of this calendar, as windows of the graph."""

from assets.lake_asset import FixedWeeks
from assets.partitions import calendar
from models.ranking.protocol import Protocol, protocol
from resources.settings import get_settings

PROTOCOL: Protocol = protocol(
    calendar()[-1],
    first=calendar()[0],
    allowance_days=get_settings().label_allowance_days,
)

TRAIN = FixedWeeks(PROTOCOL.train[0], PROTOCOL.train[-1])
VALIDATION = FixedWeeks(PROTOCOL.validation[0], PROTOCOL.validation[-1])
HELD_OUT = FixedWeeks(PROTOCOL.held_out[0], PROTOCOL.held_out[-1])
LAST_HELD_OUT = FixedWeeks(PROTOCOL.held_out[-1], PROTOCOL.held_out[-1])
UP_TO_HELD_OUT = FixedWeeks(calendar()[0], PROTOCOL.held_out[-1])
COMING = FixedWeeks(PROTOCOL.coming, PROTOCOL.coming)
