"""A client by hand: the connection of the core, a socket, and nothing between them.

    python examples/by_hand_client.py HOST PORT SENDER RECIPIENT... < message

Prints what the server said of each recipient. The exit code is 0 if all of them were accepted, else 1.
"""

import socket
import sys

from smtp_proto import (
    NEED_DATA,
    ClientConnection,
    ConnectionLost,
    Data,
    Ehlo,
    EndOfMessage,
    Greeting,
    Mail,
    MessageData,
    Quit,
    Rcpt,
    Refused,
    Signal,
    SMTPError,
)


def next_reply(conn, sock):
    """The server's next reply."""
    sock.sendall(conn.data_to_send())
    while (event := conn.next_event()) is NEED_DATA:
        sock.settimeout(conn.timer.seconds)
        conn.receive_data(sock.recv(65536))
    if isinstance(event, Signal):
        raise ConnectionLost("the server has closed the connection")
    return event


def ask(conn, sock, command):
    """Say a command; the reply to it."""
    conn.send(command)
    return next_reply(conn, sock)


def introduce(conn, sock):
    """Wait for the greeting and say EHLO."""
    greeting = next_reply(conn, sock)
    if not isinstance(greeting, Greeting):
        raise Refused(greeting)
    hello = ask(conn, sock, Ehlo(domain="client.example"))
    if not hello.is_positive:
        raise Refused(hello)


def one_by_one(conn, sock, mail, rcpts):
    """The replies to the recipients, and the one to DATA; None where DATA would be of no use."""
    reply = ask(conn, sock, mail)
    if not reply.is_positive:
        return [reply] * len(rcpts), None
    replies = [ask(conn, sock, rcpt) for rcpt in rcpts]
    is_wanted = any(reply.is_positive for reply in replies)
    return replies, ask(conn, sock, Data()) if is_wanted else None


def together(conn, sock, mail, rcpts):
    """The same in one round trip."""
    for command in (mail, *rcpts, Data()):
        conn.send(command)
    reply = next_reply(conn, sock)
    replies = [next_reply(conn, sock) for _ in rcpts]
    go_ahead = next_reply(conn, sock)
    return replies if reply.is_positive else [reply] * len(rcpts), go_ahead


def send_message(conn, sock, sender, recipients, message):
    """For each recipient the reply that decided."""
    mail = Mail(reverse_path=sender)
    rcpts = [Rcpt(forward_path=recipient) for recipient in recipients]
    envelope = together if "PIPELINING" in conn.features else one_by_one
    replies, verdict = envelope(conn, sock, mail, rcpts)
    if verdict is not None and verdict.code == 354:
        if any(reply.is_positive for reply in replies):
            conn.send(MessageData(data=message))
        verdict = ask(conn, sock, EndOfMessage())
    return [verdict if reply.is_positive else reply for reply in replies]


def main(host, port, sender, *recipients):
    conn = ClientConnection()
    try:
        with socket.create_connection((host, int(port)), timeout=60) as sock:
            introduce(conn, sock)
            replies = send_message(conn, sock, sender, recipients, sys.stdin.buffer.read())
            if conn.is_usable:
                ask(conn, sock, Quit())
    except (SMTPError, OSError) as exc:
        print(f"{host}:{port}: {exc}", file=sys.stderr)
        return 1
    for recipient, reply in zip(recipients, replies, strict=True):
        print(f"{recipient}: {reply}")
    return 0 if all(reply.is_positive for reply in replies) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
