"""What the configuration says about the HTTP door and about controllers elsewhere on the network."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

DEFAULT_HTTP_PORT = 9242
"""Beside the OSC port (9240) and REAPER's surface (9241)."""

Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class HttpConfig(_Section):
    """The HTTP door: the task API, OSCQuery and the page; on the loopback, and on the LAN where that is switched on."""

    port: Port | Literal["off"] = DEFAULT_HTTP_PORT  # 0 picks a free one
    api_key: str = ""  # when set, the task API asks for it (Authorization: Bearer)
    webhook_secret: str = ""  # when set, webhooks are signed with it
    allow_private: tuple[str, ...] = ()  # networks off the internet that tasks may name, such as 192.168.1.0/24
    allowed_origins: tuple[
        str, ...
    ] = ()  # web pages of other programs that may talk to us, such as http://localhost:3000
    max_body_mb: float = Field(default=48.0, gt=0, le=1024)  # of one request; ten minutes as MP3 or FLAC in base64 fit
    max_media_mb: float = Field(default=512.0, gt=0, le=4096)  # of one audio file, uploaded or fetched
    requests_per_s: float = Field(default=50.0, gt=0)  # of one sender; more are asked to wait
    keep_days: float = Field(default=30.0, ge=0)  # results and uploads without a ttl; 0 keeps them for ever

    @field_validator("allow_private")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(network, strict=False)) for network in value)

    @field_validator("webhook_secret")
    @classmethod
    def _secret(cls, value: str) -> str:
        if value:
            from bridge.api.signature import SecretInvalid, signing_key  # brings hashlib, which every command would pay

            try:
                signing_key(value)
            except SecretInvalid as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
                raise ValueError("origins such as http://localhost:3000")
        return tuple(origin.rstrip("/").lower() for origin in value)


class LanConfig(_Section):
    """Controllers on the local network. Nobody is served before it has sent the PIN."""

    enabled: bool = False  # nobody on the network gets in unless the user says so
    interfaces: tuple[str, ...] = ()  # names (en0, eth0) or IPv4 addresses to listen on; enabled needs at least one

    @field_validator("interfaces")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.strip() or name in ("0.0.0.0", "::", "all", "*"):  # noqa: S104 - refused here
                raise ValueError("names or IPv4 addresses of single interfaces (`stembridge doctor` lists them)")
        return tuple(name.strip() for name in value)
