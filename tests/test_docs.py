"""README and docs/ are true: what they name exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bridge.config import Config

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_every_file_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    for link in filter(None, links):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"`((?:tests|protocol|engine|bridge)/[\w./]+?)`", text):
        assert (ROOT / path).exists(), path


def test_the_configuration_shown_is_the_configuration_there_is() -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    shown = Config.model_validate(tomllib.loads(block))
    assert shown == Config()
    for section, values in Config().model_dump(exclude={"source"}).items():
        for key in values:
            assert re.search(rf"^(# )?{key} = ", block, re.MULTILINE), f"{section}.{key}"


def test_every_error_code_a_user_can_meet_is_explained() -> None:
    from protocol import errors

    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    leaves = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.StembridgeError) and not kind.__subclasses__()
    }
    quiet = {"cancelled"}  # a state, not an error, to users
    assert leaves - quiet <= set(re.findall(r"`(\w+)`", text)), leaves - set(re.findall(r"`(\w+)`", text))
