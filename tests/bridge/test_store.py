import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.store import SCHEMA_VERSION, JournalError, Store, read_newest
from protocol.errors import UnknownJob
from protocol.job import Failure
from protocol.vocabulary import JobState
from tests.support.jobs import job

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data ü" / "jobs.sqlite3"


def test_what_was_added_is_there_for_the_next_daemon_to_the_last_field(path):
    first = job("a", prompt="Gesänge über Bäume", clients=("osc:1", "osc:2"))
    with Store(path) as store:
        assert store.add(first) == (first, True)
    with Store(path) as store:
        assert store.get("a") == first


def test_a_known_id_gives_back_the_known_job_and_changes_nothing(path):
    with Store(path) as store:
        known, _ = store.add(job("a", prompt="first"))
        assert store.add(job("a", prompt="second")) == (known, False)
        assert store.get("a") == known


def test_put_replaces_the_record(path):
    with Store(path) as store:
        store.add(job("a"))
        failed = job("a", state=JobState.FAILED, attempts=2).model_copy(
            update={"failure": Failure(code="x", sentence="y")}
        )
        store.put(failed)
        assert store.get("a") == failed


def test_put_of_an_unknown_job_is_refused(path):
    with Store(path) as store, pytest.raises(UnknownJob, match="no job nobody"):
        store.put(job("nobody"))


def test_an_unknown_id_is_none(path):
    with Store(path) as store:
        assert store.get("nobody") is None
        assert store.last_for("nobody") is None


def test_open_jobs_come_by_priority_then_age_and_finished_ones_not_at_all(path):
    with Store(path) as store:
        for name, priority, created, state in [
            ("late", 0, 30.0, JobState.QUEUED),
            ("early", 0, 10.0, JobState.QUEUED),
            ("running", 0, 5.0, JobState.RUNNING),
            ("live", 10, 40.0, JobState.QUEUED),
            ("done", 10, 1.0, JobState.DONE),
            ("failed", 0, 1.0, JobState.FAILED),
            ("cancelled", 0, 1.0, JobState.CANCELLED),
        ]:
            store.add(job(name, priority=priority, created=created, state=state))
        assert [one.id for one in store.open_jobs()] == ["live", "running", "early", "late"]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from((0, 1, 10)), st.floats(0, 2**40), st.sampled_from(list(JobState))), max_size=12)
)
def test_open_jobs_are_in_order_for_any_history(tmp_path_factory, history):
    with Store(tmp_path_factory.mktemp("any") / "jobs.sqlite3") as store:
        jobs = [
            store.add(job(f"j{number}", priority=priority, created=created, state=state))[0]
            for number, (priority, created, state) in enumerate(history)
        ]
        expected = sorted((one for one in jobs if not one.state.is_final), key=lambda one: (-one.priority, one.created))
        assert store.open_jobs() == expected
        assert store.newest(5) == jobs[::-1][:5]


def test_newest_come_in_the_order_in_which_they_arrived_backwards(path):
    with Store(path) as store:
        for name, created in (("a", 3.0), ("b", 2.0), ("c", 1.0)):
            store.add(job(name, created=created))
        assert [one.id for one in store.newest(2)] == ["c", "b"]
        assert store.newest(0) == store.newest(-1) == []


def test_the_last_job_of_a_client_is_found_also_when_it_joined_later(path):
    with Store(path) as store:
        store.add(job("a", clients=("osc:1",)))
        store.add(job("b", clients=("osc:2",)))
        assert store.last_for("osc:1").id == "a"
        store.put(job("b", clients=("osc:2", "osc:1")))
        assert store.last_for("osc:1").id == "b"
        assert store.last_for("osc:2").id == "b"


def test_old_finished_jobs_are_forgotten_and_open_ones_never(path):
    with Store(path) as store:
        store.add(job("open"))
        for number in range(10):
            store.add(job(f"done-{number}", state=JobState.DONE))
    with Store(path, keep_finished=3) as store:
        assert [one.id for one in store.newest(100)] == ["done-9", "done-8", "done-7", "open"]
        assert store.last_for("osc:127.0.0.1:9000").id == "done-9"


def test_old_jobs_are_forgotten_while_the_daemon_runs_too(path):
    with Store(path, keep_finished=5) as store:
        for number in range(256):
            store.add(job(f"j{number}", state=JobState.DONE))
        assert len(store.newest(1000)) == 5


@pytest.mark.parametrize("damage", ["noise", "head", "middle", "text"])
def test_a_damaged_journal_is_kept_under_a_dated_name_and_a_new_one_begun(path, caplog, damage):
    with Store(path) as store:
        for number in range(200):
            store.add(job(f"j{number}"))
    whole = path.read_bytes()
    spoilt = {
        "noise": bytes(range(256)) * 64,
        "head": b"\xff" * 4096 + whole[4096:],
        "middle": whole[:8192] + b"\xa5" * 16384 + whole[24576:],
        "text": b"this is no database at all, but long enough to be looked at" * 99,
    }[damage]
    path.write_bytes(spoilt)
    with Store(path, now=lambda: 1_795_000_000.0) as store:
        assert store.newest(10) == []
        assert store.add(job("new"))[1]
    aside = path.with_name("jobs.sqlite3.damaged-20261118-110640")
    assert aside.read_bytes() == spoilt
    assert "was damaged" in caplog.text
    assert aside.name in caplog.text


def test_two_damaged_journals_of_one_second_are_both_kept(path):
    path.parent.mkdir()
    for number in range(3):
        path.write_bytes(b"damaged %d " % number * 100)
        Store(path, now=lambda: 0.0).close()
    names = sorted(entry.name for entry in path.parent.iterdir() if "damaged" in entry.name)
    assert names == [f"jobs.sqlite3.damaged-19700101-000000{suffix}" for suffix in ("", "-2", "-3")]


def test_a_journal_of_a_newer_version_is_refused_in_words_and_left_alone(path):
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"newer Stembridge.*--data-dir"):
        Store(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(path):
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE jobs (whatever)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="another program's database"):
        Store(path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match="cannot be opened"):
        Store(tmp_path / "file" / "jobs.sqlite3")


def test_a_record_that_cannot_be_read_is_passed_over_and_the_others_are_not(path, caplog):
    with Store(path) as store:
        store.add(job("good"))
        store.add(job("bad"))
    db = sqlite3.connect(path)
    db.execute("UPDATE jobs SET record = '{' WHERE id = 'bad'")
    db.commit()
    db.close()
    with Store(path) as store:
        assert [one.id for one in store.open_jobs()] == ["good"]
    assert "cannot be read" in caplog.text


def test_a_failed_write_changes_nothing_and_the_next_one_works(path):
    with Store(path) as store:
        store.add(job("a"))
        store._db.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalError, match="cannot be used"):
            store.add(job("b"))
        store._db.execute("PRAGMA query_only = OFF")
        assert store.get("b") is None
        assert store.add(job("b"))[1]


def test_what_was_returned_survives_a_daemon_that_is_killed_at_once(path):
    daemon = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert daemon.returncode == 9, daemon.stderr
    with Store(path) as store:
        assert [one.id for one in store.newest(10)] == ["second", "first"]
        assert store.get("first").state is JobState.RUNNING


_KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.getcwd())
from bridge.store import Store
from protocol.vocabulary import JobState
from tests.support.jobs import job
store = Store(Path(sys.argv[1]))
store.add(job("first"))
store.add(job("second"))
store.put(job("first", state=JobState.RUNNING))
os._exit(9)
"""


def test_every_write_waits_for_the_disk(path):
    with Store(path) as store:
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# --- only looking -----------------------------------------------------------------------------------------------------
def test_the_journal_can_be_listed_while_a_daemon_writes_it_and_afterwards(path):
    with Store(path) as store:
        store.add(job("a"))
        store.add(job("b"))
        assert [one.id for one in read_newest(path, 5)] == ["b", "a"]
        store.add(job("c"))
        assert [one.id for one in read_newest(path, 2)] == ["c", "b"]
    assert [one.id for one in read_newest(path, 1)] == ["c"]


def test_listing_a_damaged_journal_says_so_and_leaves_it_where_it_is(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalError, match="cannot be read"):
        read_newest(path, 5)
    assert path.read_bytes() == b"not a database at all" * 100


def test_a_job_is_taken_even_if_old_ones_cannot_be_forgotten(path, monkeypatch):
    def fails(_store):
        raise JournalError("the disk is full")

    with Store(path) as store:
        monkeypatch.setattr("bridge.store._PRUNE_EVERY", 1)
        monkeypatch.setattr(Store, "_prune", fails)
        one = job("a")
        assert store.add(one) == (one, True)
        assert store.get("a") == one
