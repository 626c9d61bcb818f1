"""SASL (RFC 4422): mechanisms as plain generators, octets in and octets out, for SMTP and for other
protocols.

A client has `Credentials`, a `Context`, and what `choose` chose for it:

    client = mechanism.client(credentials, context)
    response = next(client)                 # the initial response; None where the server speaks first
    response = client.send(challenge)       # for each challenge
    client.send(None)                       # the server reports success

The last must end in `StopIteration`: then all is well. Whatever raises `SASLError` must not be believed, the
success of a server least of all, and the exchange is to be cancelled. Where the server reports a failure,
throw `AuthFailed()` into the generator: what comes out is that, or one that knows more.

A server asks a mechanism for its side, with the client's initial response or None:

    server = mechanism.server(context, initial)
    wish = next(server)                     # octets: a challenge. A `Question`: ask the application
    wish = server.send(answer)              # the client's response, or the application's answer

It returns an `Identity`, or raises `AuthFailed` for credentials that are not good, and `SASLError` for
messages that are not. Whether the user may act as another is for the application to judge. Configuration that
cannot work raises `ValueError`, an answer of the wrong type `TypeError`.

Where a mechanism wants the server's last word at the end (SCRAM), it comes as a challenge, and the response
to it is empty: not every protocol can add data to a success (RFC 4422 3.6).

No base64, no line, no limit of time; nonces come from outside, as the rest of this library has it. PBKDF2
takes a moment in which nothing else happens: see `Context.most_iterations`.

DIGEST-MD5 is not here: RFC 6331 made it historic, for good reasons. A mechanism that is missing, such as
GSSAPI, is an object with the attributes of `Mechanism`.
"""

from ._errors import AuthFailed, SASLError
from ._keys import StoredKeys
from ._mechanisms import MECHANISMS, Mechanism, choose, find_mechanism
from ._prepare import saslprep
from ._values import (
    ITERATIONS,
    LEAST_ITERATIONS,
    MOST_ITERATIONS,
    ChannelBinding,
    CheckExternal,
    CheckPassword,
    CheckToken,
    Client,
    Context,
    Credentials,
    Identity,
    LookUp,
    LookUpSecret,
    Question,
    Server,
)

__all__ = [
    "ITERATIONS",
    "LEAST_ITERATIONS",
    "MECHANISMS",
    "MOST_ITERATIONS",
    "AuthFailed",
    "ChannelBinding",
    "CheckExternal",
    "CheckPassword",
    "CheckToken",
    "Client",
    "Context",
    "Credentials",
    "Identity",
    "LookUp",
    "LookUpSecret",
    "Mechanism",
    "Question",
    "SASLError",
    "Server",
    "StoredKeys",
    "choose",
    "find_mechanism",
    "saslprep",
]
