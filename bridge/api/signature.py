"""How webhooks are signed: the Standard Webhooks convention (https://www.standardwebhooks.com), symmetric scheme v1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from protocol.errors import StembridgeError


class SecretInvalid(StembridgeError):
    """The webhook secret of the configuration cannot be read."""

    code = "config_error"


def signing_key(secret: str) -> bytes:
    """The key of a secret as the configuration writes it; nothing for none. Raises `SecretInvalid`."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise SecretInvalid("webhook_secret in [http] begins with whsec_, but the rest is no base64: copy it again.")
    return key


def signature(key: bytes, identity: str, stamp: str, body: bytes | bytearray) -> str:
    """``v1,`` and HMAC-SHA256 of ``id.timestamp.body`` in base64 (Standard Webhooks, "Signature scheme")."""
    digest = hmac.new(key, f"{identity}.{stamp}.".encode(), hashlib.sha256)
    digest.update(body)
    return "v1," + base64.b64encode(digest.digest()).decode()
