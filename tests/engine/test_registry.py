import subprocess
import sys

import pytest

from engine.registry import EngineSpec, capabilities, load, names, resolve
from protocol.errors import BadArgument, EngineError, EngineMissing, NoMaterial

PLUGIN = {"mine": "tests.support.engines:Obedient"}


def test_sketch_is_known_by_name():
    assert resolve("sketch") == EngineSpec("sketch", "engine.sketch:SketchEngine")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(EngineMissing, match=r"no engine 'skech'.*auto, sketch, acestep, mine"):
        resolve("skech", PLUGIN)


def test_a_plugin_is_found_and_made():
    spec = resolve("mine", PLUGIN)
    assert load(spec).capabilities().version == "1"
    assert names(PLUGIN) == ("auto", "sketch", "acestep", "mine")


def test_a_plugins_capabilities_carry_the_name_it_was_configured_with():
    assert capabilities("mine", PLUGIN).name == "mine"


@pytest.mark.parametrize("name", ["sketch", "acestep"])
def test_a_plugin_cannot_take_a_name_of_ours(name):
    with pytest.raises(BadArgument, match="is taken"):
        resolve(name, {name: "tests.support.engines:Obedient"})


@pytest.mark.parametrize("target", ["engines", "a.b:", ":C", "a b:C", "a:C()", "../x:C"])
def test_a_plugin_must_be_named_as_module_and_class(target):
    with pytest.raises(BadArgument, match=r"package\.module:Class"):
        resolve("mine", {"mine": target})


@pytest.mark.parametrize("target", ["no_such_package.x:C", "tests.support.engines:NoSuch"])
def test_an_engine_that_cannot_be_imported_is_missing(target):
    with pytest.raises(EngineMissing, match="'mine'"):
        load(EngineSpec("mine", target))


def test_an_engine_that_cannot_be_made_says_why():
    with pytest.raises(EngineError, match="no such device"):
        load(EngineSpec("mine", "tests.support.engines:Unmakeable"))


def test_an_engine_gets_the_options_that_the_configuration_has_for_its_name():
    spec = resolve("mine", {"mine": "tests.support.engines:Configured"}, {"mine": {"a": 1}, "acestep": {"b": 2}})
    assert spec.options == {"a": 1}
    assert load(spec).options == {"a": 1}
    assert load(resolve("mine", {"mine": "tests.support.engines:Configured"})).options == {}


def test_an_engine_that_refuses_its_options_says_it_in_its_own_words():
    with pytest.raises(NoMaterial, match=r"^No tape of colour 'blue'\.$"):
        load(EngineSpec("mine", "tests.support.engines:Configured", {"colour": "blue"}))


def test_the_capabilities_of_sketch_need_no_heavy_import():
    code = (
        "import sys; from engine.registry import capabilities; assert capabilities('sketch').verbs; "
        "print([name for name in ('librosa', 'scipy', 'numba', 'torch', 'soundfile') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
