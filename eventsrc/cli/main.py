"""The entry point `eventsrc`: registers the command groups, runs one, and turns errors into exit codes.

Commands import what they need when they run, so that `--help` answers at once. This module imports nothing at all before it
can tell a Ctrl-C from a crash.
"""

from __future__ import annotations

import sys

DEBUG = "--debug"
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits the process."""
    words = sys.argv[1:] if arguments is None else arguments
    if next((word for word in words if not word.startswith("-")), None) == "run":
        _drained_until_it_begins()
    code = run(words)
    _end_quietly_from_now_on(code)
    sys.exit(code)


def _drained_until_it_begins() -> None:
    """A worker that is told to end while it still imports has nothing to drain, and has not failed: a rolling restart may
    come as soon as that."""
    import os
    import signal

    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # wherever it stood, in an import too
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    import io

    from eventsrc.cli.errors import EXIT_FAILURE, exit_code_of, show_error, silence_stdout

    words, debug = _without_debug(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # text that the terminal's encoding lacks is shown, not fatal
    if _wants_json_logs(words):  # also of what is wrong before the settings are known
        from eventsrc.runtime import logs

        logs.configure("warning", "json")
    try:
        return _dispatch(words)
    except BrokenPipeError:
        silence_stdout()
        return EXIT_FAILURE
    except Exception as error:  # noqa: BLE001 - the last one to see it: it becomes a sentence and an exit code
        if _comes_of_an_interrupt(error):
            return INTERRUPTED
        show_error(error, debug=debug)
        return exit_code_of(error)


def _comes_of_an_interrupt(error: BaseException | None) -> bool:
    """A Ctrl-C in the middle of something (a class being made, a clean-up) comes out as another error."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_quietly_from_now_on(code: int) -> None:
    """What was to be done is done: a Ctrl-C while the interpreter is taken down has nothing to say, and a SIGTERM to a worker
    comes too late to change how it ended."""
    import os
    import signal

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            return  # the interpreter finds out too
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(code))


def _dispatch(words: list[str]) -> int:
    from eventsrc.cli import telling
    from eventsrc.cli.errors import EXIT_FAILURE, EXIT_USAGE, UsageError
    from eventsrc.cli.quick_run import run_quickly
    from eventsrc.codes import code_of

    code = run_quickly(words)
    if code is not None:
        return code
    from eventsrc.cli.app import build_app

    app = build_app(words[0] if words else None)
    try:
        if not telling.logs_are_json():
            app(args=words, prog_name="eventsrc")
        else:
            return int(app(args=words, prog_name="eventsrc", standalone_mode=False) or 0)
    except SystemExit as exited:
        return exited.code if isinstance(exited.code, int) else EXIT_FAILURE if exited.code else 0
    except Exception as error:
        if not hasattr(error, "format_message"):  # what the library raises of words that it does not understand
            raise
        telling.logger.error("%s", error.format_message(), extra={"code": code_of(UsageError)})
        return EXIT_USAGE
    return 0


def _wants_json_logs(words: list[str]) -> bool:
    import os

    given = " ".join(words).replace("--log-format=", "--log-format ")
    form = os.environ.get("EVENTSRC_LOG_FORMAT", "") if "--log-format " not in given else given
    return form.lower() == "json" or "--log-format json" in given


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """`--debug` may stand anywhere before `--`."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    head = [word for word in words[:end] if word != DEBUG]
    return head + words[end:], len(head) < end
