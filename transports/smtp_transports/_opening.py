"""Sockets that connect and listen, over TCP or at a path: those of any library with the usual methods."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from ._places import about

_PORTS = range(65536)
# Connections that wait to be accepted; the system may allow fewer.
_BACKLOG = 4096


def connected(
    library: Any,
    host: str,
    port: int,
    unix: str | os.PathLike[str] | None,
    seconds: float | None,
    local_address: tuple[str, int] | None = None,
) -> Any:
    """A connected socket of `library`, a module such as `socket`. Every address of `host` is tried."""
    if unix is not None:
        return _connected_unix(library, os.fspath(unix), seconds)
    errors = []
    try:
        addresses = _addresses(library, host, port)
    except OSError as exc:  # there is no such name
        raise about(f"{host}:{port}", exc) from exc
    for family, kind, protocol, _, address in addresses:
        sock = None
        try:
            sock = library.socket(family, kind, protocol)
            sock.settimeout(seconds)
            if local_address is not None:
                sock.bind(local_address)
            sock.connect(address)
        except BaseException as exc:
            if sock is not None:
                sock.close()
            if not isinstance(exc, OSError):
                raise
            errors.append(exc)
        else:
            return sock
    raise about(f"{host}:{port}", *errors) from ExceptionGroup("no address works", errors)


def address_at(host: str, port: int) -> tuple[int, tuple[Any, ...]] | None:
    """The family and the address of a socket at `host`, if that is an address and not a name."""
    for family, address in ((socket.AF_INET, (host, port)), (socket.AF_INET6, (host, port, 0, 0))):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return family, address
    return None


def _addresses(library: Any, host: str, port: int) -> Any:
    """Those of `host`, as `getaddrinfo` tells them: which for an address nobody, and no thread, is asked."""
    if port in _PORTS and (found := address_at(host, port)):
        family, address = found
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]
    return library.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _connected_unix(library: Any, path: str, seconds: float | None) -> Any:
    sock = library.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(path)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError):
            raise about(path, exc) from exc
        raise
    return sock


def listening(library: Any, host: str, port: int, unix: str | os.PathLike[str] | None) -> Any:
    """A listening socket of `library`, a module such as `socket`."""
    if unix is not None:
        try:
            return _listening(library, socket.AF_UNIX, os.fspath(unix))
        except OSError as exc:
            raise about(os.fspath(unix), exc) from exc
    return _listening(library, socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))


def _listening(library: Any, family: int, address: Any) -> Any:
    # asyncio sets TCP_NODELAY on what is accepted, but only if the listening socket knows that it is TCP.
    sock = library.socket(family, socket.SOCK_STREAM, 0 if family == socket.AF_UNIX else socket.IPPROTO_TCP)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def stop_listening(sock: Any, address: Any) -> None:
    """Close a listening socket, and take its name off the file system."""
    sock.close()
    if isinstance(address, str):  # the path of a Unix socket; an abstract one is bytes
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
