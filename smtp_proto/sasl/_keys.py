"""What a server of SCRAM stores of a password (RFC 5802 3): keys that prove it, and cannot be used for it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from .._message import Message, field
from ._errors import SASLError
from ._prepare import saslprep
from ._values import ITERATIONS, LEAST_ITERATIONS

HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
_BY_SIZE: Final = {32: "SCRAM-SHA-256", 20: "SCRAM-SHA-1"}


class StoredKeys(Message):
    """The keys of one user for one hash: `stored_key` and `server_key`, made with `salt` and `iterations`.

    All but `iterations` are octets. The hash is told by the size of the keys: 32 octets are SHA-256, 20 are
    SHA-1. Whoever has them can pretend to be the server, and can try passwords; `repr` hides them.
    Raises `ValueError` for keys of another size, without a salt, or without iterations.
    """

    __slots__ = ("_iterations", "_salt", "_server_key", "_stored_key")
    _fields = ("salt", "iterations", "stored_key", "server_key")
    _secret = ("stored_key", "server_key")

    salt: bytes = field("_salt")
    iterations: int = field("_iterations")
    stored_key: bytes = field("_stored_key")
    server_key: bytes = field("_server_key")

    def __init__(self, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> None:
        if len(stored_key) not in _BY_SIZE or len(server_key) != len(stored_key):
            raise ValueError("the keys of SCRAM have 20 or 32 octets each")
        if not salt or iterations < 1:
            raise ValueError("the keys of SCRAM need a salt and iterations")
        self._salt = salt
        self._iterations = iterations
        self._stored_key = stored_key
        self._server_key = server_key

    @property
    def mechanism(self) -> str:
        """`SCRAM-SHA-256` or `SCRAM-SHA-1`; the same keys serve its -PLUS form."""
        return _BY_SIZE[len(self.stored_key)]

    @classmethod
    def derive(
        cls, password: str, salt: bytes, iterations: int = ITERATIONS, mechanism: str = "SCRAM-SHA-256"
    ) -> StoredKeys:
        """The keys of a `password`. `salt`: 16 random octets, of each user its own. `iterations`: how much
        work it is to try a password. `mechanism`: `SCRAM-SHA-256` or `SCRAM-SHA-1`.

        Raises `SASLError` for a password that RFC 4013 does not allow, `ValueError` for less than 4096
        iterations and for an unknown mechanism.
        """
        if iterations < LEAST_ITERATIONS:
            raise ValueError(f"{iterations} iterations are too few: clients want {LEAST_ITERATIONS} or more")
        if mechanism not in HASHES:
            raise ValueError(f"not a mechanism of SCRAM: {mechanism!r}")
        prepared = saslprep(password, "the password", stored=True)
        client_key, server_key = keys_of(mechanism, prepared, salt, iterations)
        return cls(salt, iterations, digest(mechanism, client_key), server_key)

    @classmethod
    def made_up(
        cls,
        user: str,
        server_secret: bytes,
        iterations: int = ITERATIONS,
        mechanism: str = "SCRAM-SHA-256",
    ) -> StoredKeys:
        """Keys for a user who does not exist: always the same, and to a stranger like those of one who does.

        `server_secret`: 16 octets or more, random and kept. `iterations`, `mechanism`: those of the real
        ones.

        No password fits them. The salt has 16 octets: real ones should, too.
        """
        size = hashlib.new(HASHES[mechanism]).digest_size
        salt, stored_key, server_key = (
            hmac.digest(server_secret, f"{part} {mechanism} {user}".encode(), "sha256")
            for part in ("salt", "stored", "server")
        )
        return cls(salt[:16], iterations, stored_key[:size], server_key[:size])

    def matches(self, password: str) -> bool:
        """Whether this is the password, compared in constant time: an answer to `CheckPassword`.

        For the same work without such a user ask the keys that are `made_up`.
        """
        try:
            prepared = saslprep(password, "the password", stored=True)
        except SASLError:
            return False
        client_key, _ = keys_of(self.mechanism, prepared, self.salt, self.iterations)
        return hmac.compare_digest(digest(self.mechanism, client_key), self.stored_key)


def keys_of(mechanism: str, password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """ClientKey and ServerKey (RFC 5802 3) of a prepared password. All the work of SCRAM is here."""
    hash_name = HASHES[mechanism]
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)
    return hmac.digest(salted, b"Client Key", hash_name), hmac.digest(salted, b"Server Key", hash_name)


def digest(mechanism: str, octets: bytes) -> bytes:
    """H(octets) of RFC 5802 2.2."""
    return hashlib.new(HASHES[mechanism], octets).digest()


def sign(mechanism: str, key: bytes, message: bytes) -> bytes:
    """HMAC(key, message) of RFC 5802 2.2."""
    return hmac.digest(key, message, HASHES[mechanism])
