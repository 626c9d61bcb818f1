"""Our own server behind a stream in memory, which never waits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from smtp_proto import NEED_DATA, Features, Limits, Rcpt, Reply, ServerConnection
from smtp_proto.ops import DEFAULT_OFFER, Authenticator, Decide, Session, Want, serve
from smtp_proto.sasl import CheckPassword, Context

CREDENTIALS = ("ada", "a secret")
REFUSED = "eve@mx.example"
EVERYTHING = Features({**DEFAULT_OFFER, "BINARYMIME": (), "DSN": (), "ETRN": (), "HELP": (), "VRFY": ()})


class OwnServer:
    """One session of it. `delivered` gets the messages; `options` are those of `serve`."""

    def __init__(
        self,
        delivered: list[bytes],
        *,
        lmtp: bool = False,
        auth: bool = False,
        size: int = 100_000,
        offer: Features = DEFAULT_OFFER,
        **options: Any,
    ) -> None:
        self._conn = ServerConnection(lmtp=lmtp, limits=Limits(message_size=size))
        if auth:
            options["authenticator"] = Authenticator(["PLAIN", "LOGIN"], Context, allow_plaintext=True)
        session = Session(self._conn)
        self._delivered = delivered
        self._body = b""
        self._steps = self._drive(serve(self._conn, session, domain="mx.example", offer=offer, **options))
        self._wants_tls = False
        next(self._steps)

    def send_all(self, data: bytes, timeout: float | None) -> None:
        if self._conn.is_usable:
            self._conn.receive_data(data)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        over = next(self._steps, True) if not self._wants_tls else False
        data = self._conn.data_to_send()
        if not data and not over:
            raise TimeoutError
        return data

    def start_tls(self, timeout: float | None) -> None:
        assert self._wants_tls
        self._wants_tls = False
        next(self._steps)

    def close(self) -> None:
        self._steps.close()

    def _drive(self, op: Generator[Any, Any, None]) -> Generator[bool, None, None]:
        answer: object = None
        yield False
        while True:
            try:
                want = op.send(answer)
            except StopIteration:
                return
            answer = None
            if want is Want.EVENT:
                try:
                    while (answer := self._conn.next_event()) is NEED_DATA:
                        yield False
                except Exception as exc:
                    op.throw(exc)
            elif want is Want.TLS:
                self._wants_tls = True
                yield False
            elif isinstance(want, Decide):
                answer = self._decide(want.hook, *want.arguments)

    def _decide(self, hook: str, *arguments: Any) -> object:
        answers: dict[str, Callable[..., object]] = {
            "rcpt": self._rcpt,
            "data": self._data,
            "chunk": self._chunk,
            "message": self._message,
            "authenticate": self._authenticate,
        }
        return answers[hook](*arguments) if hook in answers else None

    def _rcpt(self, command: Rcpt) -> object:
        no = Reply(code=550, enhanced="5.1.1", text="nobody")
        return no if command.forward_path == REFUSED else None

    def _data(self) -> None:
        self._body = b""

    def _chunk(self, data: bytes) -> None:
        self._body += data

    def _message(self) -> None:
        self._delivered.append(self._body)

    def _authenticate(self, question: object) -> object:
        return isinstance(question, CheckPassword) and (question.user, question.password) == CREDENTIALS
