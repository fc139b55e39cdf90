"""AWS fires a one-time schedule within a minute after its time, most often at once. The emulator looks
for schedules every ten seconds; all of this service's would be late by the same. This fix looks five
times a second."""

from ministack.services import scheduler


def apply():
    scheduler._SCHEDULE_TICK_INTERVAL = 0.2
