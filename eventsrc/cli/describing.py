"""A short process that imports an application and says which consumer group it is of: for a supervisor, which must not
carry the application's imports for as long as it lives. Shows a mistake as any command does, with its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from eventsrc.cli.errors import EXIT_FAILURE, exit_code_of, show_error
from eventsrc.cli.loading import load_pipeline


def group_of(app: str) -> str | int:
    """The group id, or the exit code with which the application cannot be loaded, when that has been shown."""
    found = subprocess.run([sys.executable, "-m", __name__, app], stdout=subprocess.PIPE, check=False)
    try:
        return str(json.loads(found.stdout)["group_id"])
    except ValueError:
        return found.returncode if found.returncode > 0 else EXIT_FAILURE


def main(app: str) -> int:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the application prints when it is imported is no answer
    try:
        group_id = load_pipeline(app).settings.group_id
    except Exception as error:  # noqa: BLE001 - shown as any command's
        show_error(error, debug=False)
        return exit_code_of(error)
    with out:
        json.dump({"group_id": group_id}, out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
