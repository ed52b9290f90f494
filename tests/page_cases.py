"""A page that is served while a test asks it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

from helpers import require

for library in ("flask", "waitress"):
    require(library)

from waitress import wasyncore  # noqa: E402

from lenet_fast.web import server  # noqa: E402
from lenet_fast.web.manager import TrainingManager  # noqa: E402


@contextlib.contextmanager
def serving(
    taught: TrainingManager,
    timeout: int = 20,
    port: int = 0,
    host: str = "127.0.0.1",
    allowed: Collection[str] = (),
) -> Iterator[Any]:
    """Yield a waitress server, by default on a free port, which answers as long as the block
    lasts."""
    made = server.create(taught, host, port, timeout, allowed)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        taught.leave()
        made.task_dispatcher.shutdown()
        # In the server's own thread, which must not find its sockets closed; it may have done so
        # before the call returns.
        with contextlib.suppress(OSError):
            made.trigger.pull_trigger(lambda: wasyncore.close_all(made._map))
        thread.join(10)
        assert not thread.is_alive()
        taught.close()
