"""A server by hand: the connection of the core, and a thread of `socketserver` for each session.

    python examples/by_hand_server.py HOST PORT > messages

Says on standard error where it listens (port 0 takes a free one), and writes each message for example.com to
standard output.
"""

import contextlib
import socketserver
import sys

from smtp_proto import (
    CLOSED,
    NEED_DATA,
    Data,
    Ehlo,
    EndOfMessage,
    Features,
    Greeting,
    Hello,
    Helo,
    Help,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    Vrfy,
)

NAME = "mx.example.com"
OFFER = Features({"PIPELINING": (), "8BITMIME": (), "SMTPUTF8": (), "ENHANCEDSTATUSCODES": ()})
OURS = ("example.com", None)  # without a domain it is postmaster, whom RFC 5321 4.5.1 wants to be there
OK = Reply(code=250, enhanced="2.0.0", text="ok")


def next_command(conn, sock):
    """What the client says next."""
    while (event := conn.next_event()) is NEED_DATA:
        sock.sendall(conn.data_to_send())
        sock.settimeout(conn.timer.seconds)
        conn.receive_data(sock.recv(65536))
    return event


def answer(command, pieces):
    """The reply to a command; None where none is due. `pieces` are those of the message under way."""
    match command:
        case Ehlo():
            return Hello(domain=NAME, features=OFFER)
        case Helo():
            return Reply(code=250, text=NAME)
        case Rcpt() if command.forward_path.domain not in OURS:
            return Reply(code=550, enhanced="5.7.1", text="we take mail for example.com alone")
        case Data():
            pieces.clear()
            return Reply(code=354, text="end with <CRLF>.<CRLF>")
        case MessageData():
            pieces.append(command.data)
            return None
        case EndOfMessage():
            return command.refusal or deliver(b"".join(pieces))
        case Vrfy():
            return Reply(code=252, enhanced="2.5.0", text="send some mail, and see")
        case Help():
            return Reply(code=214, enhanced="2.0.0", text="see RFC 5321")
        case Quit():
            return Reply(code=221, enhanced="2.0.0", text="bye")
        case MalformedCommand():
            return command.reply
        case Mail() | Rcpt() | Rset() | Noop():
            return OK
    return Reply(code=502, enhanced="5.5.1", text="not implemented")


def deliver(message):
    """Take the message, or refuse it."""
    sys.stdout.buffer.write(message)
    sys.stdout.buffer.flush()
    return OK


def serve(conn, sock):
    """Greet a client, and answer all that it says."""
    pieces = []
    conn.send(Greeting(domain=NAME, text="ESMTP"))
    while (command := next_command(conn, sock)) is not CLOSED:
        reply = answer(command, pieces)
        if reply is not None:
            conn.send(reply)


class Session(socketserver.BaseRequestHandler):
    """One client, in a thread of its own."""

    def handle(self):
        conn = ServerConnection()
        with contextlib.suppress(OSError):  # the client is gone
            try:
                serve(conn, self.request)
            except RemoteProtocolError as exc:
                if exc.reply is not None:
                    conn.send(exc.reply)
            except TimeoutError:
                conn.send(Reply(code=421, enhanced="4.4.2", text=f"{NAME} has waited long enough"))
            self.request.sendall(conn.data_to_send())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def main(host, port):
    with Server((host, int(port)), Session) as server:
        print("listening on {}:{}".format(*server.server_address), file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
