"""Who may ask the server: the one who has the address with the token, from no other site."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Guard:
    """What an address must be like to be answered.

    Besides the token, the `Host` of a request must be one under which the server was opened: a name
    of another site that is led to this machine (DNS rebinding) is none.
    """

    host: str  # that the server listens on
    token: str

    @classmethod
    def new(cls, host: str) -> Guard:
        """Return a guard with a token that nobody guesses."""
        return cls(host, secrets.token_urlsafe(18))

    def knows(self, token: str) -> bool:
        """Say whether this is the token, in a time that does not depend on how it differs."""
        return secrets.compare_digest(token.encode(), self.token.encode())

    def refusal(self, method: str, host: str | None, origin: str | None, site: str | None,
                content_type: str | None) -> str | None:  # fmt: skip
        """Say why a request is refused, in a sentence; None where it is not.

        Args:
            method: GET or POST.
            host, origin, site, content_type: the headers Host, Origin, Sec-Fetch-Site and
                Content-Type.
        """
        if host is None or not self._is_ours(_name_of(f"//{host}")):
            return "This server is not known under that name."
        if origin is not None and _place_of(origin) != host.lower():
            return "Requests from other sites are refused."
        if site is not None and site not in ("same-origin", "none"):
            return "Requests from other sites are refused."
        if method == "POST" and (content_type or "").split(";")[0].strip() != "application/json":
            return "Answers are sent as application/json."
        return None

    def _is_ours(self, name: str) -> bool:
        if name in LOOPBACK or name == self.host.lower():
            return True
        if self.host not in ("0.0.0.0", "::"):
            return False
        try:  # opened to all: under its numbers, which nobody can register as a name
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _place_of(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return ""
