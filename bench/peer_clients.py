"""Other clients."""

from __future__ import annotations

import resource
import subprocess
import time
from email import message_from_bytes
from email.policy import SMTP
from types import ModuleType
from typing import Any

from . import peers
from .driving import Costs, drive
from .driving_async import on_asyncio, on_trio
from .samples import SENDER, message, recipients
from .worker import Job

HOST = "127.0.0.1"
DOMAIN = "client.example"


class Smtplib:
    """The client of the standard library, or one that looks like it."""

    def __init__(self, module: ModuleType, job: Job) -> None:
        self.client = module.SMTP(HOST, job.port, local_hostname=DOMAIN)
        self.client.ehlo()
        self.to, self.body = recipients(job.recipients), message(job.size)

    def send(self, count: int) -> None:
        for _ in range(count):
            self.client.sendmail(SENDER, self.to, self.body)

    def close(self) -> None:
        self.client.quit()


def smtplib(job: Job) -> Costs:
    import smtplib as module

    return drive(lambda job: Smtplib(module, job), job)


def dropin(job: Job) -> Costs:
    """Ours, in the place of smtplib."""
    from smtp_transports import smtplib as module

    return drive(lambda job: Smtplib(module, job), job)


class Aiosmtplib:
    def __init__(self, job: Job) -> None:
        from aiosmtplib import SMTP

        self.client = SMTP(
            hostname=HOST, port=job.port, local_hostname=DOMAIN, use_tls=False, start_tls=False, timeout=60
        )
        self.to, self.body = recipients(job.recipients), message(job.size)

    async def send(self, count: int) -> None:
        for _ in range(count):
            await self.client.sendmail(SENDER, self.to, self.body)

    async def close(self) -> None:
        await self.client.quit()


def aiosmtplib(job: Job) -> Costs:
    async def connect(job: Job) -> Aiosmtplib:
        subject = Aiosmtplib(job)
        await subject.client.connect()
        return subject

    return on_asyncio(connect, job)


class Smtpproto:
    def __init__(self, job: Job) -> None:
        from smtpproto.client import AsyncSMTPClient

        client = AsyncSMTPClient(HOST, job.port, domain=DOMAIN, max_concurrent_connections=1000)
        self.manager = client.connect()
        self.session: Any = None
        self.to, self.message = recipients(job.recipients), message_from_bytes(message(job.size), policy=SMTP)

    async def send(self, count: int) -> None:
        for _ in range(count):
            await self.session.send_message(self.message, sender=SENDER, recipients=self.to)

    async def close(self) -> None:
        await self.manager.__aexit__(None, None, None)


async def connect_smtpproto(job: Job) -> Smtpproto:
    subject = Smtpproto(job)
    subject.session = await subject.manager.__aenter__()
    return subject


def smtpproto(job: Job) -> Costs:
    return on_asyncio(connect_smtpproto, job)


def smtpproto_trio(job: Job) -> Costs:
    return on_trio(connect_smtpproto, job)


def smtp_source(job: Job) -> Costs:
    """Postfix's, a program in C: its whole process is measured."""
    words = [
        *peers.postfix_command("smtp-source"),
        "-N",
        "-M",
        DOMAIN,
        "-f",
        SENDER,
        "-t",
        "recipient@mx.example",
    ]
    words += [
        "-l",
        str(job.size),
        "-m",
        str(job.count),
        "-s",
        str(job.connections),
        "-r",
        str(job.recipients),
    ]
    words += [] if job.fresh else ["-d"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*words, f"{HOST}:{job.port}"], check=True, timeout=50, env=peers.POSTFIX_ENVIRONMENT)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu / job.count, "wall": wall / job.count}
