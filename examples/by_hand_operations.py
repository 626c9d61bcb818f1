"""A client on the operations of the core, with a loop and a stream of your own. STARTTLS where it is offered.

    python examples/by_hand_operations.py HOST PORT SENDER RECIPIENT... < message

Prints a line for each recipient. The exit code is 0 if all of them were accepted, else 1. The environment
variable SSL_CERT_FILE names the certificates to trust in the place of the system's.
"""

import socket
import ssl
import sys
import time

from smtp_proto import NEED_DATA, ClientConnection, ConnectionLost, SMTPError, TimedOut, ops
from smtp_proto.ops import Want


class SocketStream:
    """Octets out, octets in, TLS. Timeouts are in seconds."""

    def __init__(self, host, port):
        self._host = host
        self._sock = socket.create_connection((host, port), timeout=60)

    def send_all(self, data, timeout):
        self._sock.settimeout(timeout)
        self._sock.sendall(data)

    def receive_some(self, timeout):
        if timeout <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(timeout)
        return self._sock.recv(65536)

    def start_tls(self, timeout):
        self._sock.settimeout(timeout)
        self._sock = ssl.create_default_context().wrap_socket(self._sock, server_hostname=self._host)

    def close(self):
        self._sock.close()


def run(op, conn, stream):
    """Drive an operation to its end; its result. What the network does wrong is thrown into it."""
    answer = error = None
    while True:
        try:
            want = op.send(answer) if error is None else op.throw(error)
        except StopIteration as stop:
            flush(conn, stream)
            return stop.value
        except Exception:
            conn.fail()
            raise
        answer = error = None
        try:
            answer = fulfil(want, conn, stream)
        except Exception as exc:
            error = exc


def fulfil(want, conn, stream):
    """What an operation waits for."""
    flush(conn, stream)
    try:
        if want is Want.TLS:
            stream.start_tls(conn.timer.seconds)
        elif want is Want.EVENT:
            deadline = time.monotonic() + conn.timer.seconds  # octets that trickle in do not extend it
            while (event := conn.next_event()) is NEED_DATA:
                conn.receive_data(stream.receive_some(deadline - time.monotonic()))
            return event
    except TimeoutError as exc:
        raise TimedOut(conn.timer, conn.timer.seconds) from exc
    except OSError as exc:
        raise ConnectionLost(f"the network failed: {exc}") from exc
    return None


def flush(conn, stream):
    """Send what is to be sent."""
    if data := conn.data_to_send():
        try:
            stream.send_all(data, conn.timer.seconds)
        except OSError as exc:
            lost = ConnectionLost(f"sending failed: {exc}")
            lost.sending = True  # the server may have said why: the operation asks for its last words
            raise lost from exc


def main(host, port, sender, *recipients):
    conn = ClientConnection()
    try:
        stream = SocketStream(host, int(port))
        try:
            run(ops.greet(conn), conn, stream)
            run(ops.hello(conn, "client.example", starttls="opportunistic"), conn, stream)
            message = sys.stdin.buffer.read()
            result = run(ops.send_message(conn, sender, recipients, message), conn, stream)
            run(ops.quit(conn), conn, stream)
        finally:
            stream.close()
    except (SMTPError, OSError) as exc:
        print(f"{host}:{port}: {exc}", file=sys.stderr)
        return 1
    for outcome in result.outcomes:
        print(outcome)
    return 0 if result.all_accepted else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
