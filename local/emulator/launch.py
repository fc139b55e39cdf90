"""Starts MiniStack, the AWS emulator, with the fixes that this service needs.

Each fix is a module beside this one that says how AWS differs from the emulator. To see what is
lost without one, name it in EMULATOR_WITHOUT_FIX (test_fixes.py does).
"""

import importlib
import os

from ministack import app

FIXES = (
    "http_api_routes", "api_at_root", "stream_mapping", "schedules_on_time", "bad_tokens", "journal",
    "tcp_nodelay", "concurrency_limits", "put_events_faults", "deployments", "sam_parameters", "secure_transport", "schedule_permissions",
    "batch_permissions",
)


def main():
    without = os.environ.get("EMULATOR_WITHOUT_FIX")
    for fix in FIXES:
        if fix != without:
            importlib.import_module(fix).apply()
    app.main()


if __name__ == "__main__":
    main()
