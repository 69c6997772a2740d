"""Commands that need no broker, through the entry point: output, exit codes, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventsrc.cli import errors
from eventsrc.cli.init import scaffold
from eventsrc.cli.main import run
from eventsrc.codes import HaltCode
from eventsrc.errors import (
    CommandFailed,
    DeclarationError,
    InvalidCommand,
    InvalidSettings,
    LogInconsistent,
    OutcomeUnknown,
    Rejected,
    SchemaIncompatible,
    TopicsInvalid,
    Unreachable,
)
from tests.harness.collect import wait_until

SOURCE = str(Path(__file__).parents[3])


def eventsrc(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": SOURCE, "PYTHONWARNINGS": "error", "HOME": str(directory)}
    return subprocess.run(
        [sys.executable, "-m", "eventsrc", *words],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    assert run(["init", str(tmp_path / "shop")]) == 0
    return tmp_path / "shop"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Rejected("no"), 1),
        (CommandFailed("constraint", "t/0 offset 1"), 1),
        (OutcomeUnknown("late"), 1),
        (TopicsInvalid("t"), 1),
        (LogInconsistent("gap", HaltCode.SEQUENCE_MISSING), 1),
        (DeclarationError("class"), 2),
        (InvalidSettings("x"), 2),
        (InvalidCommand("x"), 2),
        (errors.UsageError("x"), 2),
        (Unreachable("x"), 3),
        (SchemaIncompatible("x"), 5),
        (KeyError("x"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert errors.exit_code_of(error) == code


def test_a_comparison_without_its_database_exits_as_unreachable(shop: Path) -> None:
    program = (
        "import os\nos.environ.update(DATABASE_URL='postgresql://u:hush@127.0.0.1:1/x', KAFKA_BOOTSTRAP_SERVERS='127.0.0.1:1')\n"
        "from unittest.mock import patch\nfrom eventsrc.cli.main import run\nfrom eventsrc.errors import SnapshotsUnavailable\n"
        "with patch('eventsrc.runtime.comparing.compare', side_effect=SnapshotsUnavailable('away')):\n"
        "    raise SystemExit(run(['replay', 'shop.app:pipeline', '--compare']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shop, env={"PYTHONPATH": f"{SOURCE}:{shop}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (3, "error: away\nsee: docs/errors.md#unreachable\n")


@pytest.mark.parametrize(("level", "shown"), [("info", ""), ("debug", "alembic.runtime")])
def test_alembics_own_lines_are_for_debugging(level: str, shown: str) -> None:
    program = (
        "import logging\nfrom eventsrc.cli.work import configure_logging\nfrom eventsrc.runtime.settings import Settings\n"
        f"configure_logging(Settings(log_level={level!r}))\n"
        "logging.getLogger('alembic.runtime').info('setup')\n"
    )
    environ = {"PYTHONPATH": SOURCE}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert shown in ended.stderr
    assert bool(ended.stderr) is bool(shown)


def test_problems_are_listed_below_their_error() -> None:
    assert errors.error_text(TopicsInvalid("topics are wrong", ["one", "two"])) == "topics are wrong\n  one\n  two"


def test_a_scaffold_passes_its_own_tests_and_check(shop: Path) -> None:
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"],
        cwd=shop, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": SOURCE}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    checked = eventsrc(shop, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "Order" in checked.stdout
    assert "eventsrc schema export" in checked.stdout


@pytest.mark.parametrize("name", ["Shop", "my-shop", "my_shop", "MyShop"])
def test_a_scaffold_is_named_after_its_directory(name: str) -> None:
    files = scaffold(name)
    package = "shop" if name == "Shop" else "my_shop"
    assert Path(package) / "app.py" in files
    assert f'Pipeline("{package.replace("_", "-")}")' in files[Path(package) / "app.py"]
    assert "@" not in files[Path("pyproject.toml")]


@pytest.mark.parametrize("name", ["1shop", "class", "", "tests", "ü", "typing", "json", "eventsrc"])
def test_a_name_that_cannot_be_a_pipelines_is_refused(name: str) -> None:
    with pytest.raises(errors.UsageError, match="cannot name an application"):
        scaffold(name)


def test_init_overwrites_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (shop / "shop" / "app.py").read_text()
    assert run(["init", str(shop)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (shop / "shop" / "app.py").read_text() == before


def test_schemas_are_exported_listed_and_shown(shop: Path) -> None:
    exported = eventsrc(shop, "schema", "export", "--json")
    assert len(json.loads(exported.stdout)["written"]) == 10  # nine schemas, and what the fold is
    assert json.loads(eventsrc(shop, "schema", "export", "--json").stdout)["written"] == []
    listed = [json.loads(line) for line in eventsrc(shop, "schema", "show", "--json").stdout.splitlines()]
    assert all(each["exported"] and (shop / each["file"]).exists() for each in listed)
    shown = json.loads(eventsrc(shop, "schema", "show", "order", "Placed", "--json").stdout)
    assert [field["name"] for field in shown["fields"]] == ["meta", "sku", "quantity"]
    assert eventsrc(shop, "schema", "show", "Order", "Plaxed").returncode == 2
    assert eventsrc(shop, "schema", "check").returncode == 0


def test_an_incompatible_change_exits_5_and_names_the_field(shop: Path) -> None:
    eventsrc(shop, "schema", "export")
    app = shop / "shop" / "app.py"
    app.write_text(
        app.read_text().replace(
            "class Placed:\n    sku: str\n    quantity: int",
            "class Placed:\n    sku: str\n    quantity: bytes",  # of another length: a .pyc is stale by size and second
        )
    )
    for words in (("check",), ("schema", "check")):
        checked = eventsrc(shop, *words)
        assert checked.returncode == 5
        assert "quantity" in checked.stderr
        assert "Placed" in checked.stderr
        assert not json.loads(eventsrc(shop, *words, "--json").stdout)["ok"]


def test_mistakes_in_a_class_are_shown_whole_with_exit_2(shop: Path) -> None:
    app = shop / "shop" / "app.py"
    app.write_text(app.read_text().replace('sku: str = ""\n', "sku: list[str] = []\n    other: object = None\n"))
    checked = eventsrc(shop, "check")
    assert checked.returncode == 2
    assert "sku" in checked.stderr
    assert "other" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_a_traceback_is_shown_only_when_asked_for(shop: Path) -> None:
    (shop / "shop" / "app.py").write_text("raise RuntimeError('boom')\n")
    assert "Traceback" not in eventsrc(shop, "check").stderr
    asked = eventsrc(shop, "check", "--debug")
    assert "Traceback" in asked.stderr
    assert asked.stderr.rstrip().splitlines()[-2].startswith("error: importing shop.app failed: RuntimeError: boom")


def test_an_application_that_ends_the_program_is_a_load_failure(shop: Path) -> None:
    (shop / "shop" / "app.py").write_text("import sys\nsys.exit(3)\n")
    done = eventsrc(shop, "check")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: importing shop.app ended the program: sys.exit(3)")


@pytest.mark.parametrize("setting", ["nosuch.setting=1", "fetch.wait.max.ms=abc", "security.protocol=bogus"])
def test_a_setting_that_kafkas_library_refuses_is_a_usage_error(setting: str, shop: Path) -> None:
    done = eventsrc(shop, "show", "Order", "x", "-b", "127.0.0.1:1", "-X", setting)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a Kafka setting is refused: ")
    assert done.stderr.splitlines()[-1] == "see: docs/errors.md#invalid-settings"
    assert setting.partition("=")[0] in done.stderr


def test_a_line_with_a_key_that_is_no_text_spoils_no_other(shop: Path) -> None:
    line = {"aggregate": "Order", "id": "x", "command": "Pay", "idempotency_key": "\ud800"}
    (shop / "lines").write_text(f"{json.dumps(line)}\n[1]\n")
    done = eventsrc(shop, "send", "--file", "lines", "--json")
    results = [json.loads(each) for each in done.stdout.splitlines()]
    assert [each["status"] for each in results] == ["invalid"] * 2
    assert "lone surrogate" in results[0]["message"]


@pytest.mark.parametrize(
    "words", [["nosuch"], ["show"], ["show", "Order"], ["send", "Order", "x"], ["check", "--nosuch"]]
)
def test_usage_errors_exit_2(words: list[str], shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    assert run(words) == 2


def test_a_word_too_many_in_front_is_told_as_what_it_stands_for(shop: Path) -> None:
    done = eventsrc(shop, "send", "shop", "Order", "x", "Pay")  # no application: it has no colon
    assert done.returncode == 2
    assert "has no aggregate shop: it has Order" in done.stderr


def test_without_an_address_the_next_step_is_named(shop: Path) -> None:
    for words in (("show", "Order", "x"), ("send", "Order", "x", "Pay"), ("run",), ("topics", "create"), ("tail",)):
        done = eventsrc(shop, *words)
        assert done.returncode == 3, words
        assert "eventsrc dev" in done.stderr


def test_lines_that_are_wrong_need_no_broker(shop: Path) -> None:
    (shop / "lines").write_bytes(b'\xff\n{"aggregate": 1}\n{"aggregate": "Order", "id": "x", "command": "Nothing"}\n')
    done = eventsrc(shop, "send", "--file", "lines", "--json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [each["status"] for each in results] == ["invalid"] * 3
    assert "not UTF-8" in results[0]["message"]
    assert done.stderr.startswith("3 commands in ")
    missing = eventsrc(shop, "send", "--file", "nothing-there")
    assert (missing.returncode, missing.stderr) == (
        2,
        "error: nothing-there cannot be read: No such file or directory\nsee: docs/errors.md#usage-error\n",
    )


def test_a_secret_on_the_command_line_is_not_repeated(shop: Path) -> None:
    done = eventsrc(shop, "show", "Order", "x", "-X", "sasl.password=hunter2", "--debug", "--log-level", "debug")
    assert "hunter2" not in done.stdout + done.stderr


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom eventsrc.cli.main import run\nassert run(['--help']) == 0\n"
        "heavy = {'rich', 'pydantic', 'sqlalchemy', 'confluent_kafka', 'fastavro', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env={"PYTHONPATH": SOURCE})


def test_run_does_not_wait_for_the_command_line_library(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom eventsrc.cli.main import run\nassert run(['run', '--state-dir', 's']) == 2\n"
        "heavy = {'typer', 'rich', 'pydantic', 'sqlalchemy', 'tomllib'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, cwd=tmp_path, env={"PYTHONPATH": SOURCE}
    )


UNSOUND = """\
from eventsrc import Pipeline, apply, handle

pipeline = Pipeline("words")


@pipeline.command
class Say:
    words: set[str]


@pipeline.event
class Said:
    words: set[str]


@pipeline.aggregate
class Speaker:
    last: str = ""
    times: int = 0

    @handle
    def say(self, command: Say) -> Said:
        self.times += 1
        return Said(command.words)

    @apply
    def said(self, event: Said) -> None:
        self.last = ",".join(event.words)
"""


def test_check_finds_folds_that_differ_and_impure_handlers(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(UNSOUND)
    checked = eventsrc(tmp_path, "check", "words:pipeline")
    assert checked.returncode == 1
    assert "Speaker.said (event " in checked.stderr
    assert "PYTHONHASHSEED=" in checked.stderr
    assert "last: first '" in checked.stderr
    assert "Speaker.say changed the state of the Speaker" in checked.stderr
    assert "Traceback" not in checked.stderr
    told = json.loads(eventsrc(tmp_path, "check", "words:pipeline", "--json").stdout)
    assert (told["ok"], len(told["determinism"]["problems"]), told["problems"]) == (False, 2, [])
    without = eventsrc(tmp_path, "check", "words:pipeline", "--no-determinism")
    assert (without.returncode, without.stderr) == (0, "")
    assert "determinism" not in without.stdout


def test_a_worker_that_is_told_to_end_while_it_imports_its_application_has_drained(tmp_path: Path) -> None:
    """A rolling restart may come as soon as that; a service manager would see a failure."""
    started = tmp_path / "started"
    (tmp_path / "slow.py").write_text(f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "eventsrc", "run", "slow:pipeline", "-b", "127.0.0.1:9"]
    worker = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": SOURCE, "HOME": str(tmp_path)})
    try:
        wait_until(started.exists, 20, "the application's import")
        worker.terminate()
        assert worker.wait(30) == 0
    finally:
        worker.kill()
