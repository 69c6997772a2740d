"""Where probes and metrics are served: `[HOST:]PORT` as it is written in a setting. Loopback unless a host is given."""

from __future__ import annotations

from typing import NamedTuple

from eventsrc.codes import Refusal
from eventsrc.errors import InvalidSettings

LOOPBACK = "127.0.0.1"


class HttpAddress(NamedTuple):
    """`port` 0: one that is free, which the log names."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HttpAddress:
        """`9100`, `0.0.0.0:9100`, `[::1]:9100`. Raises `InvalidSettings`."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InvalidSettings(f"{text!r} is no [HOST:]PORT: an IPv6 address stands in brackets, as in [::1]:9100")
        if not (port.isascii() and port.isdigit() and int(port) < 65536) or (colon and not host):
            raise InvalidSettings(f"{text!r} is no [HOST:]PORT, for example 9100 or 0.0.0.0:9100")
        return cls(host or LOOPBACK, int(port))

    @property
    def is_loopback(self) -> bool:
        """Only programs of this machine reach it."""
        import ipaddress

        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def require_token(self, token: str | None) -> None:
        """Raises `InvalidSettings` where other machines would read what only a token may guard."""
        if token is None and not self.is_loopback:
            raise InvalidSettings(
                f"probes and metrics at {self} would be open to other machines: set EVENTSRC_HTTP_TOKEN, "
                f"or leave the host out ({LOOPBACK} then)",
                Refusal.HTTP_TOKEN_MISSING,
            )
