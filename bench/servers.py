"""Our servers, and others. What they are sent they take, and throw away."""

from __future__ import annotations

import asyncio as aio
import logging
import subprocess
import time
from collections.abc import Callable
from typing import Any

from smtp_proto import Limits
from smtp_transports.handlers import Handler

from . import peers
from .floor_servers import BACKLOG, Tell, listening
from .worker import Job, tells

MOST = 10_000  # sessions at once
OPTIONS: dict[str, Any] = {
    "domain": "mx.example",
    "max_sessions": MOST,
    "limits": Limits(message_size=2**27),
}


@tells
def blocking(job: Job, tell: Tell) -> None:
    from smtp_transports.blocking import serve

    with serve(Handler(), **OPTIONS) as server:
        tell({"port": server.address[1]})
        while True:
            time.sleep(3600)


@tells
def gevent(job: Job, tell: Tell) -> None:
    import gevent

    from smtp_transports.gevent import serve

    with serve(Handler(), **OPTIONS) as server:
        tell({"port": server.address[1]})
        while True:
            gevent.sleep(3600)


async def serve_forever(serve: Callable[..., Any], sleep: Callable[[float], Any], tell: Tell) -> None:
    async with serve(Handler(), **OPTIONS) as server:
        tell({"port": server.address[1]})
        while True:
            await sleep(3600)


@tells
def asyncio(job: Job, tell: Tell) -> None:
    from smtp_transports.asyncio import serve

    aio.run(serve_forever(serve, aio.sleep, tell))


@tells
def trio(job: Job, tell: Tell) -> None:
    import trio

    from smtp_transports.trio import serve

    trio.run(serve_forever, serve, trio.sleep, tell)


class Sink:
    """A handler for aiosmtpd that takes everything."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 2.0.0 Ok"


@tells
def aiosmtpd(job: Job, tell: Tell) -> None:
    from aiosmtpd.smtp import SMTP

    logging.getLogger("mail.log").setLevel(logging.ERROR)

    async def main() -> None:
        listener, loop = listening(), aio.get_running_loop()

        def session() -> Any:
            return SMTP(Sink(), hostname="mx.example", ident="ESMTP", loop=loop, data_size_limit=2**27)

        server = await loop.create_server(session, sock=listener, backlog=BACKLOG)
        tell({"port": listener.getsockname()[1]})
        await server.serve_forever()

    aio.run(main())


@tells
def smtp_sink(job: Job, tell: Tell) -> None:
    """Postfix's, a program in C."""
    with listening() as listener:
        port = listener.getsockname()[1]
    command = [*peers.postfix_command("smtp-sink"), *peers.unprivileged(), "-m", str(MOST)]
    process = subprocess.Popen([*command, f"127.0.0.1:{port}", str(BACKLOG)], env=peers.POSTFIX_ENVIRONMENT)
    peers.wait_for(port)
    tell({"port": port, "pid": process.pid})
    process.wait()
