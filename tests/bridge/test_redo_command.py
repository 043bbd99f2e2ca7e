"""`stembridge redo` and `redo --commit` through the real engine process, with small engines as plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import cli, config
from bridge.broadcast_wave import read_recipe
from bridge.daemon import engine_spec, engine_supervisor
from bridge.delivery import deliver
from protocol.job import Job, Take
from protocol.music import Region
from protocol.task import Quality
from tests.support.audio import noise, save
from tests.support.deliveries import RATE, make_job, project_ref

ROOT = Path(__file__).parents[2]
ENGINES = {"sketchy": "tests.support.audio:NoiseEngine", "choir": "tests.support.audio:ChoirEngine"}
REGIONS = [Region(2.0, 2.5), Region(4.0, 4.5)]

pytestmark = pytest.mark.slow

Make = Callable[[str], list[Take]]


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    file = tmp_path / "stembridge.toml"
    plugins = "".join(f'{name} = "{target}"\n' for name, target in ENGINES.items())
    file.write_text(f"[engine.plugins]\n{plugins}[folders]\ndata_dir = '{tmp_path / 'data'}'\n", encoding="utf-8")
    return file


@pytest.fixture
def make(toml: Path, tmp_path: Path) -> Make:
    """Drafts of two regions, two variations each, made and delivered by the engine of that name."""
    folder = tmp_path.resolve() / "Song"
    source = save(folder / "song.wav", noise(8 * RATE), RATE)

    async def render(job: Job) -> list[Take]:
        settings = config.load(toml)
        supervisor = engine_supervisor(settings, engine_spec(settings, job.request.engine), tmp_path / "spool")
        try:
            return list(deliver(job, await supervisor.run(job, lambda _: None)).takes)
        finally:
            await supervisor.stop()

    def make(engine: str) -> list[Take]:
        job = make_job(project_ref(folder), regions=REGIONS, source=source)
        task = job.request.task.model_copy(update={"quality": Quality.DRAFT, "checkpoint": "small"})
        request = job.request.model_copy(update={"engine": engine, "task": task})
        takes = asyncio.run(render(job.model_copy(update={"request": request})))
        return sorted(takes, key=lambda take: take.number)

    return make


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_stem_made_together_with_another_region_comes_out_the_same(
    make: Make, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stem = make("choir")[3]
    assert read_recipe(Path(stem.file)).region == 1
    assert cli.main(["redo", "--config", str(toml), stem.file]) == 0
    file, verdict = printed(capsys)[-2:]
    assert verdict.startswith("identical")
    assert Path(file).read_bytes() != Path(stem.file).read_bytes()  # the recipe inside names another request
    recipe = read_recipe(Path(file))
    assert (recipe.seed, recipe.request.task.checkpoint) == (stem.seed, "choir-1")
    assert [path.name for path in Path(file).parent.glob("*.wav")] == [Path(file).name]
    assert cli.main(["redo", "--config", str(toml), file]) == 0  # what was made again can be made again


def test_a_stem_made_together_does_not_come_out_the_same_alone(
    make: Make, toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The negative control of the test above."""
    stem = make("choir")[3]
    monkeypatch.setattr("bridge.redo._made_with", lambda stem, recipe: [recipe.region])
    assert cli.main(["redo", "--config", str(toml), stem.file]) == 1
    assert any(line.startswith("different") for line in printed(capsys))


def test_a_draft_is_committed_as_a_final_take_of_the_same_region_and_seed(
    make: Make, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stem = make("sketchy")[1]
    assert cli.main(["redo", "--commit", "--config", str(toml), stem.file]) == 0
    (file,) = printed(capsys)[-1:]
    recipe = read_recipe(Path(file))
    assert (recipe.request.task.quality, recipe.request.task.checkpoint) == ("final", None)
    assert (recipe.seed, recipe.request.regions, recipe.source_sha256) == (
        stem.seed,
        (REGIONS[0],),
        stem.recipe.source_sha256,
    )
    assert Path(file).parent.name.startswith("commit-")
    assert Path(stem.file).is_file()


def test_what_cannot_be_committed_is_told(tmp_path: Path, toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["redo", "--commit", "--config", str(toml), str(tmp_path / "none.wav")]) == 1
    assert "none.wav" in capsys.readouterr().err
