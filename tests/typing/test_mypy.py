"""What mypy --strict says of applications: nothing of sound ones, and the expected errors of mistaken ones.

In the samples, every expected error is an ignore that names its code, and strict mode reports ignores without an
error. Without the plugin, a sample that needs it has to fail.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLES = Path("tests/typing/samples")


def complaints(directory: Path, *, plugin: bool, sample: str = "") -> list[str]:
    """The lines in which mypy, in a process of its own, names a sample; all of them by default."""
    config = directory / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n" + ("plugins = eventsrc.mypy\n" if plugin else ""))
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(directory / "cache")]
    # The framework's own modules are checked by the project's lint, not here.
    command += ["--follow-imports", "silent", str(SAMPLES / sample)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(str(SAMPLES))]


def test_with_the_plugin(tmp_path: Path) -> None:
    assert complaints(tmp_path, plugin=True, sample="sound.py") == []
    # What the plugin adds has to outlive the cache, from which the sound sample comes now.
    assert complaints(tmp_path, plugin=True) == []


def test_without_the_plugin(tmp_path: Path) -> None:
    found = complaints(tmp_path, plugin=False)
    assert [line for line in found if "without_plugin.py" in line] == []
    text = "\n".join(found)
    assert 'Too many arguments for "Deposited"' in text
    assert '"Account" has no attribute "id"' in text


def test_the_mistaken_sample_has_all_kinds() -> None:
    codes = set(re.findall(r"# type: ignore\[([a-z-]+)\]", (ROOT / SAMPLES / "mistaken.py").read_text()))
    assert codes == {"arg-type", "assignment", "attr-defined", "call-arg", "misc", "return-value", "type-var"}
