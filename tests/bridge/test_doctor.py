"""The doctor: every finding true, every problem with what to do about it."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from rich.console import Console

from bridge import doctor
from bridge.config import Config, load
from bridge.doctor import Check
from bridge.doctor_http import check_http
from bridge.web_config import HttpConfig


def config(tmp_path: Path, **flags: object) -> Config:
    file = tmp_path / "stembridge.toml"
    file.touch()
    return load(file, {"osc.port": 0, "discovery.interfaces": "off", "folders.data_dir": tmp_path / "data", **flags})


@contextmanager
def udp(answer: bytes | None) -> Iterator[int]:
    """A program on a UDP port of 127.0.0.1 that answers the first packet with `answer`, or never."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.settimeout(10)

        def serve() -> None:
            packet, sender = door.recvfrom(8192)
            assert OscMessage(packet).address == "/stembridge/ping"
            if answer is not None:
                door.sendto(answer, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        yield door.getsockname()[1]
        thread.join(10)


def test_a_free_port_is_ok_and_is_free_afterwards():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert doctor.check_osc_port("127.0.0.1", port).status == "ok"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))


def test_a_port_held_by_a_running_stembridge_is_ok():
    pong = OscMessageBuilder("/stembridge/pong")
    pong.add_arg("0.1.0")
    with udp(pong.build().dgram) as port:
        check = doctor.check_osc_port("127.0.0.1", port)
    assert (check.status, check.detail) == ("ok", f"a running Stembridge 0.1.0 answers on 127.0.0.1:{port}/udp")


def test_a_port_held_by_another_program_fails_and_the_way_out_is_named():
    with udp(None) as port:
        check = doctor.check_osc_port("127.0.0.1", port)
    assert check.status == "fail"
    assert "another program" in check.detail
    assert "--osc-port" in check.advice


def test_an_http_port_is_free_or_ours_or_another_program_s():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answering = threading.Thread(target=_answered_once_more, args=(other, b"HTTP/1.0 200 OK\r\n\r\n{}"))
        answering.start()
        taken = check_http(HttpConfig(port=port))
        answering.join()
    assert (taken.status, "another program" in taken.detail, "--http-port" in taken.advice) == ("warn", True, True)
    assert check_http(HttpConfig(port=port)).detail == f"127.0.0.1:{port}/tcp is free"
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        told = b'HTTP/1.0 200 OK\r\n\r\n{"NAME": "Stembridge on stage"}'
        answering = threading.Thread(target=_answered_once_more, args=(ours, told))
        answering.start()
        found = check_http(HttpConfig(port=port))
        answering.join()
    assert (found.status, "Stembridge on stage" in found.detail) == ("ok", True)
    assert "off" in check_http(HttpConfig(port="off")).detail


def _answered_once_more(server: socket.socket, answer: bytes) -> None:
    """Let one connection go, and answer the next."""
    server.accept()[0].close()
    connection = server.accept()[0]
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


def test_an_address_that_is_not_ours_fails():
    check = doctor.check_osc_port("192.0.2.77", 0)
    assert check.status == "fail"
    assert "osc.host" in check.advice


def test_a_folder_that_does_not_exist_yet_is_judged_by_the_one_above_and_not_made(tmp_path: Path):
    check = doctor.check_folder("data folder", tmp_path / "a" / "b", "x")
    assert check.status in ("ok", "warn")
    assert "first start" in check.detail
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_fails(tmp_path: Path):
    (tmp_path / "data").write_text("")
    assert doctor.check_folder("data folder", tmp_path / "data", "x").status == "fail"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_fails_with_advice(tmp_path: Path):
    tmp_path.chmod(0o500)
    check = doctor.check_folder("data folder", tmp_path, "Choose another.")
    tmp_path.chmod(0o700)
    assert (check.status, check.advice) == ("fail", "Choose another.")


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "_LOW_SPACE_BYTES", 10**18)
    assert doctor.check_folder("data folder", tmp_path, "x").status == "warn"


def test_a_project_that_does_not_exist_fails(tmp_path: Path):
    assert doctor.check_project(tmp_path / "gone").status == "fail"
    assert doctor.check_project(tmp_path / "Song.rpp").status in ("ok", "warn")


async def test_zeroconf_on_the_loopback_finds_its_own_test_service():
    check = await doctor.check_zeroconf("lo")
    assert check.status == "ok", check


async def test_zeroconf_on_an_interface_that_is_not_there_is_a_warning():
    check = await doctor.check_zeroconf("192.0.2.77")
    assert check.status == "warn"
    assert check.advice


def test_an_unknown_engine_fails_with_a_sentence(tmp_path: Path):
    check = doctor.check_engine(config(tmp_path, **{"engine.name": "tape"}))
    assert check.status == "fail"
    assert "tape" in check.detail


@pytest.mark.parametrize(("engine", "status"), [("auto", "warn"), ("sketch", "warn"), ("acestep", "fail")])
def test_what_acestep_lacks_is_a_failure_only_where_it_was_asked_for(tmp_path: Path, engine: str, status: str):
    check = doctor.check_acestep(config(tmp_path, **{"engine.name": engine, "acestep.models_dir": tmp_path}))
    assert check.status == status
    assert "stembridge models pull xl-base" in check.detail
    assert "sketch" in check.advice


def test_a_soundfont_that_is_not_there_is_a_failure_and_none_is_fine(tmp_path: Path):
    assert doctor.check_soundfont(config(tmp_path)).status == "ok"
    gone = doctor.check_soundfont(config(tmp_path, **{"sketch.soundfont": tmp_path / "gone.sf2"}))
    assert (gone.status, "gone.sf2" in gone.detail) == ("fail", True)
    assert gone.advice


@pytest.mark.parametrize(("separator", "status"), [("auto", "ok"), ("masks", "ok"), ("demucs", "fail")])
def test_a_separator_without_weights_is_a_failure_only_where_it_was_asked_for(
    tmp_path: Path, separator: str, status: str
):
    check = doctor.check_separator(
        config(tmp_path, **{"sketch.separator": separator, "sketch.separator_dir": tmp_path})
    )
    assert check.status == status
    assert ("by masks" in check.detail) == (status == "ok")


def test_an_acestep_that_can_run_is_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.availability.why_not", lambda name, options: None)
    check = doctor.check_acestep(config(tmp_path, **{"acestep.checkpoint": "xl-sft"}))
    assert (check.status, check.detail) == ("ok", "checkpoint xl-sft, device auto: all there")


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no-such-package"))
    check = doctor.check_packages()
    assert (check.status, check.advice) == ("fail", "pip install no-such-package")


def test_all_checks_run_here_and_none_breaks(tmp_path: Path):
    checks = doctor.run_checks(config(tmp_path), tmp_path)
    assert [check.name for check in checks][:5] == [
        "Python",
        "packages",
        "configuration",
        "data folder",
        "project folder",
    ]
    assert not [check for check in checks if "could not be checked" in check.detail]
    assert all(check.advice for check in checks if check.status != "ok")


def test_a_check_that_breaks_becomes_a_finding_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken() -> Check:
        raise RuntimeError("no such device")

    monkeypatch.setattr(doctor, "check_formats", broken)
    checks = {check.name: check for check in doctor.run_checks(config(tmp_path))}
    assert checks["audio formats"].status == "warn"
    assert "no such device" in checks["audio formats"].detail
    assert checks["clock"].status == "ok"


def test_the_table_reads_without_a_terminal_and_keeps_brackets():
    out = io.StringIO()
    found = [Check("GPU", "warn", "none", "pip install 'stembridge[acestep]'"), Check("clock", "ok", "fine")]
    doctor.print_checks(found, Console(file=out, width=100))
    assert "-> pip install 'stembridge[acestep]'" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_the_exit_code_is_1_only_if_something_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert doctor.main(config(tmp_path), tmp_path / "gone") == 1
    assert "project folder" in capsys.readouterr().out
