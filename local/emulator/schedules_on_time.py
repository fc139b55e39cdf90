"""Fix: schedules fire on time.

AWS fires a one-time schedule within a minute after its time, in most cases at once. The emulator checks
schedules every 10 seconds, a delay for all orders. This fix checks five times a second.
"""

from ministack.services import scheduler


def apply():
    scheduler._SCHEDULE_TICK_INTERVAL = 0.2
