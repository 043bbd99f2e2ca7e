"""An avahi daemon of the test's own, with a private bus, inside a network namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_BUS = (
    '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" '
    '"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">'
    "<busconfig><type>system</type><listen>unix:path={bus}</listen><auth>EXTERNAL</auth>"
    '<policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy>'
    "</busconfig>"
)


@contextmanager
def running(folder: Path, interface: str, inside: Sequence[str]) -> Iterator[dict[str, str]]:
    """Avahi on `interface` alone, in the namespace that the command `inside` leads to; the environment of clients."""
    bus, bus_config, avahi_config = folder / "bus", folder / "bus.conf", folder / "avahi.conf"
    bus_config.write_text(_BUS.format(bus=bus))
    avahi_config.write_text(
        f"[server]\nuse-ipv6=no\nallow-interfaces={interface}\nhost-name=far-host\n[wide-area]\nenable-wide-area=no\n"
    )
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    broker = subprocess.Popen(
        ["dbus-daemon", "--nofork", f"--config-file={bus_config}", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert broker.stdout is not None
    broker.stdout.readline()
    responder = subprocess.Popen(
        [
            *(*inside, "avahi-daemon", "-f", str(avahi_config)),
            *("--no-drop-root", "--no-chroot", "--no-rlimits", "--no-proc-title"),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert responder.stderr is not None
    for line in responder.stderr:
        if "Server startup complete" in line:
            break
    try:
        yield environment
    finally:
        for process in (responder, broker):
            process.kill()
            process.wait()
        responder.stderr.close()
        broker.stdout.close()
