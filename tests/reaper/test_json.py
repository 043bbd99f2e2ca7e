"""JSON of the scripts: what Lua writes Python reads, and the other way round, with every number and every character.

Under both Luas that REAPER has had: 5.3 (REAPER 5 and 6) and 5.4 (REAPER 7).
"""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

MODULE = Path(__file__).parents[2] / "reaper_scripts" / "Stembridge" / "lib" / "json.lua"
LARGEST = 2**63 - 1

scalars = (
    st.booleans()
    | st.integers(-(2**63), LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner | st.none(), max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5)
    ),
    max_leaves=25,
)


class LuaJson:
    """The module in a bare Lua; texts cross as UTF-8 bytes, exactly as they lie in a file."""

    def __init__(self, version: str) -> None:
        self.lua: Any = importlib.import_module("lupa.lua" + version.replace(".", "")).LuaRuntime(encoding=None)
        self.module = self.lua.execute(f"return dofile('{MODULE}')({{}})".encode())

    def again(self, text: bytes) -> bytes:
        """Decoded and encoded."""
        both = self.lua.eval(b"function(m, text) return m.encode(assert(m.decode(text))) end")
        return bytes(both(self.module, text))

    def problem(self, text: bytes) -> str:
        """What decode says is wrong."""
        found = self.lua.eval(b"function(m, text) return select(2, m.decode(text)) end")(self.module, text)
        assert found is not None, f"{text!r} was accepted"
        return bytes(found).decode()

    def run(self, code: str) -> Any:
        """`code` with the module as `json`."""
        return self.lua.eval(f"function(json) {code} end".encode())(self.module)


@pytest.fixture(scope="module", params=["5.3", "5.4"])
def lua(request: pytest.FixtureRequest) -> LuaJson:
    return LuaJson(request.param)


def identical(a: Any, b: Any) -> bool:
    """Equal, and of the same types: 1 is not 1.0, 0.0 is not -0.0."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(identical, a, b))
    same_sign = not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b)
    return type(a) is type(b) and a == b and same_sign


@given(value=values)
@pytest.mark.parametrize("options", [{}, {"ensure_ascii": False, "indent": 2}], ids=["ascii", "utf-8"])
def test_what_python_writes_comes_back_unchanged(lua: LuaJson, value: Any, options: dict[str, Any]) -> None:
    text = lua.again(json.dumps([value], **options).encode())
    assert text.isascii()
    assert identical(json.loads(text), [value])


def test_what_lua_builds_python_reads(lua: LuaJson) -> None:
    text = lua.run(
        r'return json.encode({ path = "C:\\Songs\\Ges\u{E4}nge \u{FC}\\\u{1D11E}.wav", seed = 9007199254740993, '
        r'at = 0.1, whole = 3.0, none = json.array({}), some = { 1, "two", false }, nothing = {}, tab = "a\tb\0" })'
    )
    assert identical(
        json.loads(text),
        {"path": "C:\\Songs\\Gesänge ü\\\U0001d11e.wav", "seed": 9007199254740993, "at": 0.1, "whole": 3.0,
         "none": [], "some": [1, "two", False], "nothing": {}, "tab": "a\tb\0"},
    )  # fmt: skip


def test_integers_and_floats_stay_what_they_are(lua: LuaJson) -> None:
    code = 'local v = json.decode("[1, 1.0, 1e0, -0.0, 9223372036854775807]") local kinds = {} '
    kinds = lua.run(code + 'for i, n in ipairs(v) do kinds[i] = math.type(n) end return table.concat(kinds, " ")')
    assert kinds == b"integer float float float integer"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "a value is expected at character 1"),
        (b"{", "a name in quotes is expected at character 2"),
        (b'{"a" 1}', "':' is expected at character 6"),
        (b'{"a":1,}', "a name in quotes is expected at character 8"),
        (b"[1 2]", "',' or ']' is expected at character 4"),
        (b"[1,]", "a value is expected at character 4"),
        (b"01", "something follows the value at character 2"),
        (b"1.", "something follows the value at character 2"),
        (b"-", "a value is expected at character 1"),
        (b"+1", "a value is expected at character 1"),
        (b"nul", "a value is expected at character 1"),
        (b"NaN", "a value is expected at character 1"),
        (b"1e999", "a number is too large at character 1"),
        (b'"abc', "a string has no end at character 1"),
        (b'"\\x"', "an escape is not valid at character 2"),
        (b'"\\u12"', "an escape is not valid at character 2"),
        (b'"a\nb"', "a control character is inside a string at character 3"),
        (b"true false", "something follows the value at character 6"),
        (b"[" * 101 + b"]" * 101, "more than 100 levels at character 101"),
        (b"[" * 100_000, "more than 100 levels at character 101"),
    ],
)
def test_text_that_is_not_json_is_told_with_its_place(lua: LuaJson, text: bytes, problem: str) -> None:
    assert lua.problem(text) == problem


@given(text=st.binary(max_size=40))
def test_no_bytes_raise_an_error(lua: LuaJson, text: bytes) -> None:
    lua.lua.eval(b"function(m, text) m.decode(text) end")(lua.module, text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (b'"\\ud834\\udd1e"', "\U0001d11e"),
        (b'"\\ud834"', "\ufffd"),
        (b'"\\udd1ea"', "\ufffda"),
        (b'"\\ud834\\u0041"', "\ufffdA"),
        (b'"\\/\\b\\f\\u00e4"', "/\b\fä"),
    ],
)
def test_escapes_and_surrogates(lua: LuaJson, text: bytes, meant: str) -> None:
    assert json.loads(lua.again(text)) == meant


@pytest.mark.parametrize("spoiled", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xe4b"])
def test_bytes_that_are_no_utf8_become_replacement_characters(lua: LuaJson, spoiled: bytes) -> None:
    text = lua.lua.eval(b"function(m, text) return m.encode(text) end")(lua.module, spoiled)
    assert json.loads(text) == spoiled.decode(errors="replace")


def test_a_hundred_levels_pass_both_ways(lua: LuaJson) -> None:
    deep = b"[" * 100 + b"]" * 100
    assert lua.again(deep) == deep


@pytest.mark.parametrize("code", ["0/0", "math.huge", "print", "{ 1, x = 2 }", "{ [true] = 1 }", "{ [2.5] = 1 }"])
def test_what_json_cannot_hold_is_an_error_of_the_script(lua: LuaJson, code: str) -> None:
    assert lua.run(f"return (pcall(json.encode, {code}))") is False


def test_a_table_inside_itself_is_an_error_and_not_the_end(lua: LuaJson) -> None:
    assert lua.run("local t = {} t.t = t return (pcall(json.encode, t))") is False


def test_a_decimal_comma_of_the_system_changes_nothing(lua: LuaJson) -> None:
    """The locale is the process's; where the system has none with a comma, formatting is made to use one."""
    text = lua.run(
        "local honest = string.format string.format = function(form, ...) local s = honest(form, ...) "
        'return form == "%.17g" and (s:gsub("%.", ",")) or s end '
        "local ok, text = pcall(json.encode, { 0.5, 1e300, 3.0 }) string.format = honest return text"
    )
    assert json.loads(text) == [0.5, 1e300, 3.0]
