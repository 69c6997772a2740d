"""Everything at once: a local stack, a worker of the bank, and the service in front of it. `python -m examples.http --help`

Ctrl-C stops all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from eventsrc.runtime.settings import Settings
from examples import running
from examples.bank.app import pipeline
from examples.http.app import application
from examples.http.live import Board
from examples.running import ExampleFailed, WorkerProcess, say

BANK = "examples.bank.app:pipeline"
HOST = "127.0.0.1"
_LOOK_S = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 where Ctrl-C or SIGTERM ended it."""
    options = argparse.ArgumentParser(
        prog="python -m examples.http", description="The bank behind HTTP, with a live page."
    )
    options.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 for any that is free [8000]")
    options.add_argument("--state-dir", type=Path, default=Path(".eventsrc/http"), help="everything it keeps")
    wanted = options.parse_args(arguments)
    return running.run_to_end(lambda cleanup: _run(wanted, cleanup))


def _run(wanted: argparse.Namespace, cleanup: contextlib.ExitStack) -> None:
    listening = cleanup.enter_context(_listen(wanted.port))
    around = running.prepare(wanted.state_dir, cleanup, fresh=False)
    running.prepare_topics(pipeline, around.services.bootstrap_servers)
    worker = WorkerProcess(BANK, around.state_dir / "worker.log", around)
    cleanup.callback(worker.kill)
    worker.start()
    settings = Settings(bootstrap_servers=around.services.bootstrap_servers, schemas_dir=around.schemas_dir)
    asyncio.run(_serve(listening, settings, worker))
    worker.ask_to_end()
    worker.wait_drained()


def _listen(port: int) -> socket.socket:
    """Before anything is started. Raises `ExampleFailed` where the port is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise ExampleFailed(f"{HOST}:{port} cannot be listened on: {error}\n  next: give another --port") from error
    return listening


async def _serve(listening: socket.socket, settings: Settings, worker: WorkerProcess) -> None:
    """Until a signal. Raises `ExampleFailed` where the service could not start or the worker has ended by itself."""
    app = application(settings)
    server = Server(uvicorn.Config(app, log_level="warning", lifespan="on"), app.state.board)
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        server.handle_exit(number, frame)

    with _handling(stop):
        serving = asyncio.create_task(server.serve([listening]))
        shown = False
        try:
            while not serving.done():
                worker.look()
                if server.started and not shown:
                    shown = True
                    say("page", f"http://{HOST}:{listening.getsockname()[1]}/", "Ctrl-C stops everything")
                await asyncio.wait([serving], timeout=_LOOK_S)
        finally:
            server.should_exit = True
            await serving
    if not server.started and not asked:
        raise ExampleFailed("the service did not start\n  next: see its message above")


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


class Server(uvicorn.Server):
    """Ends the streams of live pages first: it would wait for them, and they would for it."""

    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self._board = board

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are handled outside: raised once more after the end, they would end what is still to be stopped."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._board.end_streams()
        await super().shutdown(sockets)


if __name__ == "__main__":
    sys.exit(main())
