"""Starts the AWS emulator MiniStack with the fixes required by this service.

Each fix is a module in this folder; its first lines describe the difference between AWS and the emulator.
EMULATOR_WITHOUT_FIX disables a fix, for tests.
"""

import importlib
import os

from ministack import app

FIXES = (
    "http_api_routes",
    "api_at_root",
    "stream_mapping",
    "schedules_on_time",
    "bad_tokens",
    "journal",
    "tcp_nodelay",
    "concurrency_limits",
    "put_events_faults",
    "deployments",
    "sam_parameters",
    "secure_transport",
    "schedule_permissions",
    "event_archives",
    "expression_alarms",
    "mapping_numbers",
    "batch_permissions",
    "rule_delivery",
    "event_entries",
    "queue_limits",
    "delivery_order",
)


def main():
    disabled = os.environ.get("EMULATOR_WITHOUT_FIX")
    for fix in FIXES:
        if fix != disabled:
            importlib.import_module(fix).apply()
    app.main()


if __name__ == "__main__":
    main()
