"""What a process and all that it started listen on, and whether the network reaches it."""

import socket

import psutil

OTHER_ADDRESS = "127.0.0.2"
"""Reaches what listens on all addresses of this machine, and nothing that listens on 127.0.0.1."""
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def listening(pid: int) -> dict[str, str]:
    """Return the addresses, as ip:port, on which a process tree listens, and whose they are."""
    process = psutil.Process(pid)
    addresses = {}
    for member in [process, *process.children(recursive=True)]:
        try:
            for connection in member.net_connections("inet"):
                ip, port = connection.laddr or ("", 0)
                udp = connection.type == socket.SOCK_DGRAM and not connection.raddr
                if connection.status == psutil.CONN_LISTEN or udp:
                    addresses[f"{ip}:{port}"] = member.name()
        except psutil.Error:
            continue
    return addresses


def beyond_loopback(addresses: dict[str, str]) -> dict[str, str]:
    """Return those that the network reaches: by their address, or by trying."""
    return {
        address: name
        for address, name in addresses.items()
        if address.rpartition(":")[0] not in _LOOPBACK or _reached(port_of(address))
    }


def port_of(address: str) -> int:
    """Return the port of an address."""
    return int(address.rpartition(":")[2])


def _reached(port: int) -> bool:
    try:
        socket.create_connection((OTHER_ADDRESS, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
