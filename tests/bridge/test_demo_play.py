"""The demo's DAW side: what it plans, what it sends and how it takes what comes back (the daemon itself: tests/e2e)."""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from bridge.demo.arguments import add_arguments
from bridge.demo.daw import Daw, NoAnswer, Refused
from bridge.demo.play import free_folder, main, make_project
from protocol.errors import BadArgument, SourceMissing, SourceUnreadable

Message = tuple[str, tuple[str | int | float, ...]]


def arguments(tmp_path: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*words, "--out", str(tmp_path / "out"), "--no-open"])


@contextmanager
def peer(*answers: Callable[[OscMessage], Sequence[Message]]) -> Iterator[tuple[int, list[OscMessage]]]:
    """A UDP peer on 127.0.0.1 that meets each packet with the next answer."""
    heard: list[OscMessage] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.settimeout(10)

        def serve() -> None:
            for answer in answers:
                packet, sender = door.recvfrom(65536)
                heard.append(OscMessage(packet))
                for address, args in answer(heard[-1]):
                    builder = OscMessageBuilder("/stembridge" + address)
                    for arg in args:
                        builder.add_arg(arg)
                    door.sendto(builder.build().dgram, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(door.getsockname()[1]), heard
        thread.join(10)


def test_numbers_travel_unrounded():
    with peer(lambda m: [("/ack", (m.address,))]) as (port, heard), Daw("127.0.0.1", port) as daw:
        assert daw.tell("/region", 0.1, 3) == ("/stembridge/region",)
    assert heard[0].params == [0.1, 3]


def test_an_error_for_this_request_is_raised_with_the_daemons_own_sentence():
    answer = [("/error", ("region_outside", "The song ends at 73.8 s.", "/stembridge/repaint"))]
    with (
        peer(lambda _: answer) as (port, _),
        Daw("127.0.0.1", port) as daw,
        pytest.raises(Refused, match=r"ends at 73\.8 s"),
    ):
        daw.ask("repaint", variations=2)


def test_events_that_come_before_or_between_acknowledgements_are_not_lost():
    first = [("/job/progress", ("a", 0.5, -1.0)), ("/ack", ("a", "repaint", "sketch", 0))]
    second = [
        ("/error", ("engine_crashed", "The engine died.", "/stembridge/repaint", "b")),
        ("/job/done", ("a", 2, "/m/manifest.json")),
        ("/ack", ("b", "extend", "sketch", 1)),
    ]
    shown: list[tuple[str, float]] = []
    with peer(lambda _: first, lambda _: second) as (port, _), Daw("127.0.0.1", port) as daw:
        jobs = [daw.ask("repaint"), daw.ask("extend")]
        outcome = daw.follow(jobs, lambda job, fraction: shown.append((job, fraction)))
    assert shown == [("a", 0.5), ("a", 1.0)]
    assert outcome.manifests == {"a": Path("/m/manifest.json")}
    assert outcome.failures == {"b": "The engine died."}


def test_a_job_that_fails_without_a_sentence_still_ends_the_wait():
    answer = [("/ack", ("a", "repaint", "sketch", 0)), ("/job/state", ("a", "cancelled", "repaint"))]
    with peer(lambda _: answer) as (port, _), Daw("127.0.0.1", port) as daw:
        outcome = daw.follow([daw.ask("repaint")], lambda *_: None)
    assert "cancelled" in outcome.failures["a"]


def test_the_reason_of_a_failure_is_waited_for_though_it_comes_after_the_state():
    answer = [
        ("/ack", ("a", "repaint", "sketch", 0)),
        ("/job/state", ("a", "failed", "repaint")),
        ("/error", ("no_material", "The song is too short.", "/stembridge/repaint", "a")),
    ]
    with peer(lambda _: answer) as (port, _), Daw("127.0.0.1", port) as daw:
        outcome = daw.follow([daw.ask("repaint")], lambda *_: None)
    assert outcome.failures == {"a": "The song is too short."}


def test_a_port_where_nobody_listens_is_no_answer_with_the_address_named():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with Daw("127.0.0.1", port) as daw, pytest.raises(NoAnswer):
        daw.tell("/ping", reply="/pong", reply_s=0.5)


def test_an_earlier_run_is_never_touched(tmp_path: Path):
    names = [free_folder(tmp_path / "out", "demo-song").name for _ in range(3)]
    assert names == ["demo-song", "demo-song-2", "demo-song-3"]


def test_the_own_song_is_planned_with_its_tempo_key_and_four_bars(tmp_path: Path):
    plan = make_project(arguments(tmp_path))
    assert (plan.bpm, plan.key) == (104.0, "A minor")
    assert plan.region.label(plan.tempo_map) == "bars-17-20"  # type: ignore[arg-type]
    assert soundfile.info(plan.song).frames == plan.frames


def test_the_users_song_is_copied_and_without_a_tempo_none_is_invented(tmp_path: Path):
    file = tmp_path / "Gesänge ü.flac"
    soundfile.write(file, np.zeros(20 * 8000), 8000)
    plan = make_project(arguments(tmp_path, "--audio", str(file)))
    assert plan.song.parent == plan.folder
    assert plan.song.read_bytes() == file.read_bytes()
    assert plan.tempo_map is None
    assert (plan.region.start_s, plan.region.end_s) == (10.0, 18.0)
    told = make_project(arguments(tmp_path, "--audio", str(file), "--bpm", "120", "--start", "2", "--end", "4"))
    assert (told.bpm, told.region.start_s, told.region.end_s) == (120.0, 2.0, 4.0)


def test_a_file_that_is_not_there_or_not_audio_is_a_sentence_and_leaves_no_folder(tmp_path: Path):
    with pytest.raises(SourceMissing, match="--audio"):
        make_project(arguments(tmp_path, "--audio", str(tmp_path / "gone.wav")))
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(SourceUnreadable, match=r"text\.wav"):
        make_project(arguments(tmp_path, "--audio", str(tmp_path / "text.wav")))
    assert not (tmp_path / "out").exists()


def test_half_a_region_is_refused(tmp_path: Path):
    file = tmp_path / "song.wav"
    soundfile.write(file, np.zeros(8000), 8000)
    with pytest.raises(BadArgument, match="--start and --end"):
        make_project(arguments(tmp_path, "--audio", str(file), "--start", "1"))


def test_what_cannot_go_on_is_one_sentence_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(arguments(tmp_path, "--audio", str(tmp_path / "gone.wav"))) == 1
    assert "There is no file" in capsys.readouterr().out
