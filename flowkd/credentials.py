"""Credentials in URLs, which are neither kept nor shown."""

from __future__ import annotations

import re
from typing import Any

# Of these schemes, what stands before the @ is a container of the storage account.
_CONTAINERS = r"(?:abfss?|wasbs?)://[^/\s'\"<>?#:@]*@"
_USER = re.compile(
    rf"(?<![A-Za-z0-9+.-])(?!{_CONTAINERS})([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"<>?#]*@"
)
_SECRET = re.compile(
    r"([?&#;](?:x-(?:amz|goog|ms|oss|cos)-(?:signature|credential|security-token)"
    r"|awsaccesskeyid|googleaccessid|signature|sig|policy|key-pair-id"
    r"|(?:[a-z0-9]+[_-])*(?:token|key|apikey|secret|password|passwd|pwd|auth))=)[^&#\s'\"<>]+",
    re.IGNORECASE,
)
HIDDEN = "***"


def without_credentials(text: str) -> str:
    """Returns text whose URLs have neither user and password nor a signature or token.

    Examples:
        >>> without_credentials("no file 'https://ann:secret@host/a.csv?sig=1&part=2'")
        "no file 'https://host/a.csv?sig=***&part=2'"
        >>> without_credentials("abfs://container@account.dfs.core.windows.net/a.csv")
        'abfs://container@account.dfs.core.windows.net/a.csv'
    """
    if "://" not in text:
        return text
    return _SECRET.sub(rf"\1{HIDDEN}", _USER.sub(r"\1", text))


def values_without_credentials(values: Any) -> Any:
    """Returns plain values, nested ones too, in which each text is `without_credentials`."""
    if isinstance(values, str):
        return without_credentials(values)
    if isinstance(values, dict):
        return {key: values_without_credentials(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [values_without_credentials(value) for value in values]
    return values
