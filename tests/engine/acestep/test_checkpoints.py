"""Checkpoints on disk: found where they are, refused by the file that is wrong, told apart by their content."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acestep import checkpoints
from engine.acestep.catalogue import CATALOGUE
from engine.acestep.checkpoints import find, find_lora, hub_cache, installed, verify
from engine.acestep.weight_files import Damaged, fingerprint, read_header
from protocol.errors import EngineCannot, EngineMissing
from protocol.vocabulary import Verb
from tests.support.safetensors_files import header_of, write_safetensors

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own to spoil."""
    return Path(shutil.copytree(tiny_base, tmp_path / "models" / "xl-base"))


def refusal(name: str | Path, models_dir: Path | None = None) -> str:
    with pytest.raises(EngineMissing) as caught:
        find(str(name), models_dir)
    return caught.value.sentence


def problems(name: str | Path, models_dir: Path | None = None) -> tuple[str, ...]:
    return verify(str(name), models_dir, lambda file, done, total: None).problems


# --- finding ----------------------------------------------------------------------------------------------------------
def test_a_name_a_repository_and_a_folder_lead_to_the_same_checkpoint(folder: Path) -> None:
    by_name = find("xl-base", folder.parent)
    assert by_name.folder == folder
    assert by_name.traits.verbs == frozenset(Verb)
    assert find(CATALOGUE["xl-base"].repo_id, folder.parent) == by_name
    assert find(str(folder), None) == by_name


def test_the_hugging_face_cache_is_looked_into_as_its_own_tools_do(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache() == tmp_path / "home" / "hub"
    storage = hub_cache() / "models--ACE-Step--acestep-v15-xl-base-diffusers"
    shutil.copytree(tiny_base, storage / "snapshots" / "abc")
    assert "xl-base is not installed" in refusal("xl-base")  # no reference to a commit yet
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text("abc")
    assert find("xl-base", None).folder == storage / "snapshots" / "abc"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert "xl-base is not installed" in refusal("xl-base")


def test_turbo_is_known_by_its_files(tiny_turbo: Path) -> None:
    traits = find(str(tiny_turbo), None).traits
    assert (traits.steps, traits.is_turbo) == (8, True)
    assert traits.verbs == {Verb.GENERATE, Verb.REPAINT, Verb.EXTEND, Verb.PREPEND}  # no audio tokenizer: no cover


def test_sft_is_known_by_its_name_when_its_config_says_base(folder: Path) -> None:
    folder.rename(folder.with_name("xl-sft"))
    assert Verb.LEGO not in find("xl-sft", folder.parent).traits.verbs


def test_what_is_not_there_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    assert refusal("xl-base", tmp_path) == (
        "The checkpoint xl-base is not installed. `stembridge models pull xl-base` fetches it (11.5 GB)."
    )
    assert "`stembridge models pull someone/thing`" in refusal("someone/thing", tmp_path)
    assert "did you mean xl-base?" in refusal("xlbase", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "/nowhere/at/all", "~nobody-here/x", "a/b/c", "nul\0byte", "-x/y"])
def test_a_name_that_means_nothing_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(name, tmp_path)


def test_all_that_is_whole_is_installed_the_catalogue_first(folder: Path, tiny_turbo: Path) -> None:
    for name in ("mine", "someone--thing"):
        shutil.copytree(tiny_turbo, folder.parent / name)
    (folder.parent / "empty").mkdir()
    (folder.parent / "file").write_text("")
    assert [found.name for found in installed(folder.parent)] == ["xl-base", "mine", "someone/thing"]
    assert installed(folder.parent / "nowhere") == []


# --- completeness -----------------------------------------------------------------------------------------------------
def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def _grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"\0")


def _blank(file: Path) -> None:
    file.write_bytes(b"")


def _garble(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[10] = 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        (WEIGHTS, Path.unlink, "is missing"),
        (WEIGHTS, _cut, "has 32"),
        (WEIGHTS, _grow, "has 32"),
        (WEIGHTS, _blank, "is no safetensors file, or only its beginning (0 bytes)"),
        (WEIGHTS, _garble, "has a header that cannot be read"),
        ("text_encoder/model.safetensors", Path.unlink, "is missing"),
        ("audio_tokenizer/diffusion_pytorch_model.safetensors", Path.unlink, "is missing"),
        ("vae/config.json", Path.unlink, "is missing"),
        ("vae/config.json", _blank, "is not valid JSON"),
        ("scheduler/scheduler_config.json", Path.unlink, "is missing"),
        ("tokenizer/tokenizer.json", Path.unlink, "is missing"),
        ("tokenizer/tokenizer_config.json", Path.unlink, "is missing"),
        ("model_index.json", Path.unlink, "is missing, so the folder is not in diffusers layout"),
    ],
)
def test_a_bad_file_is_named_with_the_command_that_repairs_it(
    folder: Path, name: str, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(folder / name)
    for sentence in (refusal("xl-base", folder.parent), *problems("xl-base", folder.parent)):
        assert f"{folder / name} {told}" in sentence
        assert "`stembridge models pull xl-base` fetches it again." in sentence
    assert "Copy the folder again" in refusal(folder)


def test_a_folder_of_another_model_is_told_apart(folder: Path) -> None:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert "names a StableDiffusionPipeline, not a checkpoint for AceStepPipeline" in refusal(folder)


def test_a_component_that_is_not_named_is_missed(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "vae": [None, None]}))
    assert "names no vae" in refusal(folder)


@pytest.fixture
def sharded(folder: Path) -> Path:
    """The transformer's weights in two files with an index, as large checkpoints come."""
    (folder / WEIGHTS).unlink()
    shards = {f"diffusion_pytorch_model-0000{n}-of-00002.safetensors": {f"t{n}": 100 * n} for n in (1, 2)}
    for name, sizes in shards.items():
        write_safetensors(folder / "transformer" / name, sizes)
    places = {tensor: name for name, sizes in shards.items() for tensor in sizes}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_every_shard_must_be_there_with_what_the_index_promises(sharded: Path) -> None:
    whole = find(str(sharded), None).identity
    second = sharded / "transformer" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    write_safetensors(second, {"t3": 200})
    assert f"{second} lacks the tensor t2" in refusal(sharded)
    second.unlink()
    assert f"{second} is missing" in refusal(sharded)
    write_safetensors(second, {"t2": 200})
    assert find(str(sharded), None).identity == whole


@pytest.mark.parametrize("index", ["{}", '{"weight_map": {"a": 1}}', "[]"])
def test_an_index_that_says_nothing_is_refused(sharded: Path, index: str) -> None:
    (sharded / f"{WEIGHTS}.index.json").write_text(index)
    assert f"{WEIGHTS}.index.json" in refusal(sharded)


# --- identity ---------------------------------------------------------------------------------------------------------
def test_identity_follows_content_and_not_place_or_time(folder: Path, tiny_base: Path) -> None:
    os.utime(folder / WEIGHTS, (0, 0))
    (folder / "README.md").write_text("about")
    assert find(str(folder), None).identity == find(str(tiny_base), None).identity
    assert len(find(str(folder), None).identity) == 12


def test_weights_that_were_trained_on_have_another_identity(folder: Path) -> None:
    before = find(str(folder), None).identity
    content = bytearray((folder / WEIGHTS).read_bytes())
    start = read_header(folder / WEIGHTS).data_start
    for at in range(start, len(content), 97):
        content[at] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert find(str(folder), None).identity != before


@pytest.mark.parametrize("name", ["transformer/config.json", "tokenizer/tokenizer.json"])
def test_another_config_is_another_identity(folder: Path, name: str) -> None:
    before = find(str(folder), None).identity
    (folder / name).write_text((folder / name).read_text() + "\n")
    assert find(str(folder), None).identity != before


def test_identity_of_twelve_gigabytes_costs_no_more_than_of_a_few_bytes(tmp_path: Path) -> None:
    size, file = 12 * 10**9, tmp_path / "large.safetensors"
    header = header_of({"a": size})
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(file, 8 + len(header) + size)  # a hole: it occupies nothing
    start = time.perf_counter()
    fingerprint(file, read_header(file))
    assert time.perf_counter() - start < 1.0  # reading it would take many seconds


@given(content=st.binary(max_size=200))
def test_no_bytes_at_all_make_reading_a_header_fail_otherwise_than_as_damage(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.safetensors"
    for prefix in (b"", (len(content)).to_bytes(8, "little")):
        file.write_bytes(prefix + content)
        try:
            read_header(file)
        except Damaged:
            continue


@pytest.mark.parametrize(
    "table",
    [
        [],
        {"a": 1},
        {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 5]}},
        {"a": {"dtype": "U8", "shape": ["x"], "data_offsets": [0, 5]}},
        {"a": {"dtype": "NEW", "shape": [4], "data_offsets": [1, 5]}},
        {name: {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]} for name in "ab"},
    ],
)
def test_a_header_that_contradicts_itself_is_damage(table: object, tmp_path: Path) -> None:
    header = json.dumps(table).encode()
    file = tmp_path / "odd.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(5))
    with pytest.raises(Damaged):
        read_header(file)


# --- verifying --------------------------------------------------------------------------------------------------------
def test_a_folder_copied_by_hand_is_checked_in_structure_and_says_so(folder: Path) -> None:
    result = verify("xl-base", folder.parent, lambda file, done, total: None)
    assert (result.problems, result.compared) == ((), 0)
    assert folder / WEIGHTS in result.unknown


def test_all_problems_are_told_not_only_the_first(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    _cut(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert len(problems("xl-base", folder.parent)) == 2


def test_the_cache_without_links_knows_its_checksums_too(tiny_base: Path, tmp_path: Path) -> None:
    """As on Windows: the snapshot holds files, and the list of the commit's files lies beside it."""
    import hashlib

    commit = "0" * 40
    folder = Path(shutil.copytree(tiny_base, tmp_path / "storage" / "snapshots" / commit))
    listed = {WEIGHTS: {"lfs_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(), "blob_id": "f" * 40}}
    (tmp_path / "storage" / "trees").mkdir()
    (tmp_path / "storage" / "trees" / f"{commit}.json").write_text(json.dumps({"files": listed}))
    read: list[tuple[str, int, int]] = []
    result = verify(str(folder), None, lambda file, done, total: read.append((file, done, total)))
    size = (folder / WEIGHTS).stat().st_size
    assert (result.problems, result.compared, read) == ((), 1, [(WEIGHTS, size, size)])
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert "does not have the content it was published with" in problems(folder)[0]


def test_nothing_there_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="stembridge models pull xl-base"):
        problems("xl-base", tmp_path)


# --- adapters ---------------------------------------------------------------------------------------------------------
LORA = {f"transformer.layers.0.self_attn.to_q.lora_{side}.weight": 64 for side in "AB"}
PEFT = {f"base_model.model.layers.0.self_attn.q_proj.lora_{side}.weight": 64 for side in "AB"}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("pytorch_lora_weights.safetensors", LORA),
        ("adapter_model.safetensors", PEFT),
        ("mine.safetensors", LORA),
    ],
)
def test_a_lora_is_found_as_a_folder_and_as_a_file(tmp_path: Path, name: str, sizes: dict[str, int]) -> None:
    file = write_safetensors(tmp_path / name, sizes)
    found = find_lora(tmp_path)
    assert found == find_lora(str(file)) == checkpoints.Lora(file, found.identity)
    write_safetensors(file, sizes, seed=1)
    other = find_lora(file)
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8}')
    assert len({found.identity, other.identity, find_lora(file).identity}) == 3


def test_what_is_no_lora_is_refused_in_words(tmp_path: Path) -> None:
    other = write_safetensors(tmp_path / "pytorch_lora_weights.safetensors", {**LORA, "layers.0.weight": 8})
    with pytest.raises(EngineCannot, match=r"its tensor 'layers\.0\.weight' belongs to no adapter"):
        find_lora(tmp_path)
    write_safetensors(other, {})
    with pytest.raises(EngineCannot, match="it holds none"):
        find_lora(tmp_path)
    write_safetensors(other, LORA)
    _cut(other)
    with pytest.raises(EngineCannot, match="Copy it again"):
        find_lora(other)


def test_a_lora_that_is_not_there_or_not_clear_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="holds no LoRA"):
        find_lora(tmp_path)
    with pytest.raises(EngineMissing, match="There is no LoRA"):
        find_lora(tmp_path / "nowhere.safetensors")
    for name in ("one.safetensors", "two.safetensors"):
        write_safetensors(tmp_path / name, LORA)
    with pytest.raises(EngineMissing, match=r"holds 2 safetensors files\. Name the one"):
        find_lora(tmp_path)
