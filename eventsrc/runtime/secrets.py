"""What must never be printed, and how it is shown instead. Knows names of settings and forms of addresses only."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "***"

_SECRET_NAMES = re.compile(r"password|passphrase|secret|token|key\.pem|oauthbearer\.config|jaas", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^:/?#\s]*:)(?P<password>.+)(?=@)", re.IGNORECASE)
_WORD_PASSWORD = re.compile(
    r"(?P<before>(?:ssl)?password\s*=\s*)(?P<password>'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Whether the value of this librdkafka setting must not be shown."""
    return _SECRET_NAMES.search(name) is not None


def mask_address(address: str) -> str:
    """A database or registry address with its password replaced: a URL, or `name=value` words."""
    masked = _URL_PASSWORD.sub(rf"\g<before>{MASK}", address)
    return _WORD_PASSWORD.sub(rf"\g<before>{MASK}", masked)


def secrets_within(address: str | None) -> list[str]:
    """The passwords in a database or registry address."""
    found = [*_URL_PASSWORD.finditer(address or ""), *_WORD_PASSWORD.finditer(address or "")]
    return [each["password"] for each in found]


def mask_settings(settings: Mapping[str, str]) -> dict[str, str]:
    return {name: MASK if is_secret(name) else value for name, value in settings.items()}
