"""Who may come in, and how much of them: addresses, tokens, roles and rates."""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

_HTTP: Final = 80  # browsers leave this port out of Host and Origin
Role = Literal["full", "view"]
MAX_CONNECTIONS: Final = 160  # in sum: a page holds one, and two more while it loads
MAX_PAGES: Final = 64
REQUESTS: Final = (100.0, 400.0)  # HTTP requests a second, in sum, and at once
MESSAGES: Final = (300.0, 300.0)  # of one page a second, and at once: five fingers on faders
EVENTS: Final = (240.0, 120.0)  # of all pages a second, and at once: 1,000 a second would take 6 % of a core
SET_EVERY_S: Final = 1.0 / 60.0  # between two events for one parameter


class Bucket:
    """So many a second, and so many at once; the time is the caller's, in seconds."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s, self._most = per_s, at_once
        self._left, self._at_s = at_once, 0.0

    def take(self, now_s: float) -> bool:
        """Take one; return False where none is left."""
        self._left = min(self._left + max(now_s - self._at_s, 0.0) * self._per_s, self._most)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def wait_s(self) -> float:
        """Return how long it is until there is one, as it was at the last `take`."""
        return max(1.0 - self._left, 0.0) / self._per_s


# Three doors are tried against a page on this machine. DNS rebinding: a stranger's name is made to point
# here, so that their script is of the same origin as the page; but its Host is the stranger's name.
# Cross-site WebSocket and form posts: a stranger's page connects or posts to our address; but the browser
# says whose page it is, in Origin (WebSocket and POST, always) and in Sec-Fetch-Site. No script can set any
# of the three.
@dataclass(frozen=True)
class Gate:
    """The names that this server answers to, and the tokens that open it; without tokens it is open."""

    hosts: frozenset[str]  # as they stand in Host: name:port
    tokens: tuple[tuple[str, Role], ...] = ()

    def stranger(self, host: str | None, origin: str | None, site: str | None) -> str | None:
        """Return why a request with these headers is turned away, or None."""
        if host is None or host.lower() not in self.hosts:
            return "this server goes by another name"
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return "another site's page may not ask here"
        if site not in (None, "same-origin", "none"):
            return "another site's page may not ask here"
        return None

    def role(self, token: str | None) -> Role | None:
        """Return what the bearer of a token may do; every token is compared, and each of them whole."""
        if not self.tokens:
            return "full"
        given = (token or "").encode()
        found: Role | None = None
        for wanted, role in self.tokens:
            if hmac.compare_digest(wanted.encode(), given):
                found = role
        return found


def is_loopback(host: str) -> bool:
    """Tell whether an address, or the name localhost, can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names(host: str, port: int, own: Iterable[str], besides: Iterable[str]) -> frozenset[str]:
    """Return what may stand in Host: where is listened, or this machine's `own` names, and `besides`."""
    loopback = ("127.0.0.1", "localhost", "[::1]")
    if is_loopback(host):
        found = {host, *loopback}
    else:
        found = {*loopback, *own, *besides} if host in ("0.0.0.0", "::") else {host, *besides}
    plain = {name.lower() for name in found}
    ported = {f"{name}:{port}" for name in plain}
    return frozenset(ported | plain if port == _HTTP else ported)
