"""Whether a TCP port is free, found out before anything is started."""

import socket

from up.config import Config
from up.errors import StartError


def require_free(config: Config) -> None:
    """Look at every port of the launch.

    Raises:
        StartError: a port is taken, or the API's host is no address of this machine.
    """
    for field, port in config.ports:
        host = config.host if field == "port" else "127.0.0.1"
        _require(host or "0.0.0.0", port, f"WAYSTATION_{field}".upper())


def _require(host: str, port: int, setting: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the launch before this one, in TIME_WAIT, do not make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise StartError(f"WAYSTATION_HOST={host!r} is no address: correct or unset it") from None
        except OSError as error:
            raise StartError(
                f"port {port} on {host} cannot be used ({error.strerror}): "
                f"end what uses it, or set {setting} to another"
            ) from None
