"""Logging in over real sockets, in every library: what the client says, what the handler is asked, and TLS
that ties the two together.
"""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import test_proxy_transports
import trustme
from loops import Loop
from peers import MESSAGE, RECIPIENT, SENDER

from smtp_proto import LocalProtocolError, NotOffered, Refused
from smtp_proto.sasl import CheckExternal, CheckPassword, CheckToken, LookUp, LookUpSecret, StoredKeys
from smtp_transports._bindings import channel_bindings, server_end_point
from smtp_transports.auth import AuthSettings
from smtp_transports.handlers import Discard

loop = test_proxy_transports.loop  # the fixture: every loop in turn

WITH_PASSWORD = ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"]
NAMES = [*WITH_PASSWORD, "XOAUTH2", "OAUTHBEARER"]


class Users(Discard):
    """Knows one user, and who is logged in when a message comes."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def authenticate(self, session: Any, question: Any) -> object:
        if isinstance(question, CheckPassword):
            return (question.user, question.password) == ("ada", "pässword")
        if isinstance(question, LookUp) and question.user == "ada":
            return StoredKeys.derive("pässword", b"salt" * 4, 4096, question.mechanism)
        if isinstance(question, LookUpSecret | CheckExternal):
            return "pässword" if isinstance(question, LookUpSecret) else "ada"
        return question.token == "new" if isinstance(question, CheckToken) else None

    def message(self, session: Any) -> None:
        self.seen.append(session.user)


def test_who_logs_in_is_known_to_the_handler(loop: Loop, tmp_path: Path) -> None:
    users = Users()

    async def scene() -> None:
        auth = AuthSettings(NAMES, required=True)
        for handler in loop.dresses(users):
            for way in ("tls", "starttls"):
                async with loop.serving(handler, way, folder=tmp_path, auth=auth) as (_, there):
                    for name in WITH_PASSWORD:
                        async with loop.connect(**there) as client:
                            with pytest.raises(Refused, match="535"):
                                await client.login("ada", "wrong", mechanisms=[name])
                            result = await client.send_message(SENDER, [RECIPIENT], MESSAGE)
                            assert [one.reply.code for one in result.refused] == [530]
                            assert (await client.login("ada", "pässword", mechanisms=[name])).code == 235
                            assert (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted

    loop.run(scene)
    assert set(users.seen) == {"ada"}


def test_a_client_may_be_known_already_or_not_at_all(loop: Loop, tmp_path: Path) -> None:
    users = Users()

    async def scene() -> None:
        auth = AuthSettings(["EXTERNAL", "ANONYMOUS"], required=True)
        for handler in loop.dresses(users):
            async with loop.serving(handler, "tls", folder=tmp_path, auth=auth) as (_, there):
                for name in auth.mechanisms:
                    async with loop.connect(**there) as client:
                        with pytest.raises(NotOffered):
                            await client.login("ada", "pässword")
                        assert (await client.login(mechanisms=[name])).code == 235
                        assert (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted

    loop.run(scene)
    assert users.seen[:2] == ["ada", ""]


def test_scram_is_bound_to_a_tls_that_can_be_bound(loop: Loop, tmp_path: Path) -> None:
    bound = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
    used: list[tuple[str, str]] = []

    class Bound(Users):
        def authenticate(self, session: Any, question: Any) -> object:
            used.append((session.ssl_object.version(), question.mechanism))
            return super().authenticate(session, question)

    async def scene() -> None:
        auth = AuthSettings([*bound, "SCRAM-SHA-256"])
        for handler in loop.dresses(Bound()):
            async with loop.serving(handler, "tls", folder=tmp_path, auth=auth) as (_, there):
                context = there["context"]
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                try:
                    for names in (None, *([name] for name in bound)):
                        async with loop.connect(**there) as client:
                            assert client.features.auth == (*bound, "SCRAM-SHA-256")
                            assert (await client.login("ada", "pässword", mechanisms=names)).code == 235
                            with pytest.raises(LocalProtocolError, match="authenticated already"):
                                await client.login("ada", "pässword")
                finally:
                    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
                async with loop.connect(**there) as client:
                    assert client.features.auth == ("SCRAM-SHA-256",)
                    assert (await client.login("ada", "pässword")).code == 235

    loop.run(scene)
    assert used[:4] == [
        ("TLSv1.2", "SCRAM-SHA-256"),
        ("TLSv1.2", "SCRAM-SHA-256"),
        ("TLSv1.2", "SCRAM-SHA-1"),
        ("TLSv1.3", "SCRAM-SHA-256"),
    ]


def test_a_token_is_fetched_when_it_is_needed_and_once_more(loop: Loop, tmp_path: Path) -> None:
    asked: list[bool] = []

    def token(refresh: bool) -> str:
        asked.append(refresh)
        return "new" if refresh else "old"

    async def later(refresh: bool) -> str:
        return token(refresh)

    async def scene() -> None:
        forms = [token, later] if loop.is_async else [token]
        for handler in loop.dresses(Users()):
            auth = AuthSettings(NAMES)
            async with loop.serving(handler, "tls", folder=tmp_path, auth=auth) as (_, there):
                for form in forms:
                    for names in (None, ["OAUTHBEARER"], ["XOAUTH2"]):
                        async with loop.connect(**there) as client:
                            assert (await client.login("ada", token=form, mechanisms=names)).code == 235
                            assert asked == [False, True]
                            asked.clear()
                async with loop.connect(**there) as client:
                    with pytest.raises(Refused, match="535"):
                        await client.login("ada", token="old")

    loop.run(scene)


def test_no_secret_is_offered_or_sent_in_the_clear(loop: Loop, tmp_path: Path) -> None:
    async def scene() -> None:
        for handler in loop.dresses(Users()):
            serving = loop.serving(handler, "tcp", folder=tmp_path, auth=AuthSettings(NAMES))
            async with serving as (_, there), loop.connect(**there) as client:
                assert client.features.auth == ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5")
                with pytest.raises(NotOffered, match="AUTH"):
                    await client.login("ada", token="new")
                assert (await client.login("ada", "pässword")).code == 235
            auth = AuthSettings(["PLAIN"], allow_plaintext=True)
            serving = loop.serving(handler, "tcp", folder=tmp_path, auth=auth)
            async with serving as (_, there), loop.connect(**there) as client:
                with pytest.raises(NotOffered, match="AUTH"):
                    await client.login("ada", "pässword")
                assert (await client.login("ada", "pässword", allow_plaintext=True)).code == 235

    loop.run(scene)


class Secured:
    """What `channel_bindings` asks of TLS."""

    def __init__(self, version: str, unique: bytes | None, certificate: bytes | None) -> None:
        self._version, self._unique, self._certificate = version, unique, certificate

    def version(self) -> str:
        return self._version

    def get_channel_binding(self, kind: str) -> bytes | None:
        assert kind == "tls-unique"
        return self._unique

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self._certificate


def certificate() -> bytes:
    pem = trustme.CA().issue_cert("mx.example").cert_chain_pems[0].bytes().decode()
    return ssl.PEM_cert_to_DER_cert(pem)


def test_the_certificate_of_the_server_is_hashed_as_its_signature_is() -> None:
    der = certificate()
    assert server_end_point(der) == hashlib.sha256(der).digest()
    sha384 = der.replace(bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040303"))
    assert server_end_point(sha384) == hashlib.sha384(sha384).digest()
    for broken in (b"", b"\x30", der[:40], der.replace(bytes.fromhex("2a8648ce3d0403"), b"\0" * 7)):
        assert server_end_point(broken) is None


def test_what_tls_can_be_bound_to() -> None:
    der = certificate()

    def kinds(*known: Any, is_client: bool = True) -> list[str]:
        return [binding.kind for binding in channel_bindings(Secured(*known), is_client=is_client)]

    assert channel_bindings(None, is_client=True) == ()
    assert kinds("TLSv1.3", b"u" * 12, der) == ["tls-server-end-point"]
    assert kinds("TLSv1.2", b"u" * 12, der) == ["tls-unique", "tls-server-end-point"]
    assert kinds("TLSv1.2", None, b"") == []
    assert kinds("TLSv1.2", b"u" * 12, der, is_client=False) == ["tls-unique"]


def test_a_password_is_nowhere_to_be_seen(capsys: Any, caplog: Any) -> None:
    from smtp_transports.blocking import connect, serve

    auth = AuthSettings(["PLAIN"], allow_plaintext=True)
    with serve(Users(), auth=auth) as server, connect(*server.address) as client:
        with pytest.raises(Refused) as refused:
            client.login("ada", "s3cr3t-w0rd", allow_plaintext=True)
        error = refused.value
    shown = [repr(error), str(error), repr(error.command), repr(error.__cause__), repr(vars(error))]
    text = "".join(shown) + caplog.text + "".join(capsys.readouterr())
    assert "s3cr3t" not in text
    assert b64encode(b"\0ada\0s3cr3t-w0rd").decode()[:20] not in text
