"""The gfx window of a script, and what a test may see of it and do to it.

Promises: the strings of the last drawn frame are remembered with their rectangles, so that a test finds a button by its
text and clicks it; opening a window takes the keyboard's focus away from REAPER, closing it gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.reascript.calls import text
from tests.support.reascript.errors import BadCall, DoesNotExist

CLOSED = -1.0

VARIABLES = (
    "r", "g", "b", "a", "a2", "mode", "w", "h", "x", "y", "clear", "dest", "texth", "ext_retina", "mouse_x", "mouse_y",
    "mouse_wheel", "mouse_hwheel", "mouse_cap",
)  # fmt: skip

FEWEST_AND_MOST: dict[str, tuple[int, int]] = {
    "init": (1, 6), "quit": (0, 0), "getchar": (0, 2), "update": (0, 0), "set": (1, 8), "rect": (4, 5),
    "drawstr": (1, 4), "measurestr": (1, 1), "setfont": (1, 4), "dock": (1, 5), "line": (4, 5), "roundrect": (5, 6),
    "circle": (3, 5), "triangle": (6, 64), "setcursor": (1, 2), "drawnumber": (2, 2),
    "gradrect": (8, 16),
}  # fmt: skip
"""How many arguments each gfx function takes. Those without a model only draw."""


@dataclass(frozen=True)
class Drawn:
    """A string of a frame; pixels from the window's left top."""

    string: str
    x: float
    y: float
    width: float
    height: float
    color: tuple[float, float, float]


def _variables() -> dict[str, float]:
    return dict.fromkeys(VARIABLES, 0.0) | {"a": 1.0, "texth": 14.0}


@dataclass(eq=False)
class Window:
    script: Any
    title: str = ""
    is_open: bool = False
    docked: float = 0.0
    position: tuple[float, float] = (100.0, 100.0)
    variables: dict[str, float] = field(default_factory=_variables)
    keys: list[float] = field(default_factory=list)
    """Characters that gfx.getchar will return, one per call; then 0."""
    drawn: list[Drawn] = field(default_factory=list)
    """The strings of the last whole frame."""
    rects: list[tuple[float, float, float, float]] = field(default_factory=list)
    """The filled rectangles of the last whole frame: x, y, width, height."""
    rect_colors: list[tuple[float, float, float]] = field(default_factory=list)
    _frame: list[Drawn] = field(default_factory=list)
    _frame_rects: list[tuple[float, float, float, float]] = field(default_factory=list)
    _frame_rect_colors: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def w(self) -> float:
        return self.variables["w"]

    @property
    def h(self) -> float:
        return self.variables["h"]

    @property
    def strings(self) -> list[str]:
        return [drawn.string for drawn in self.drawn]

    def shows(self, part: str) -> bool:
        """Whether a drawn string holds `part`."""
        return any(part in string for string in self.strings)

    def find(self, string: str, index: int = 0) -> Drawn:
        """The `index`th drawn text that is `string`. Errors: AssertionError that lists what is there."""
        found = [drawn for drawn in self.drawn if drawn.string == string]
        assert len(found) > index, f"{string!r} is not drawn (number {index}): {self.strings}"
        return found[index]

    def click(self, string: str, index: int = 0) -> None:
        """Press and release the left button on the drawn text, and pump the cycles that a script needs to see it."""
        drawn = self.find(string, index)
        self.click_at(drawn.x + drawn.width / 2, drawn.y + drawn.height / 2)

    def click_at(self, x: float, y: float) -> None:
        self.variables |= {"mouse_x": x, "mouse_y": y, "mouse_cap": 1.0}
        self.script.host.pump()
        if self.is_open:
            self.variables["mouse_cap"] = 0.0
            self.script.host.pump()

    def press(self, key: float) -> None:
        self.keys.append(float(key))

    def close_by_user(self) -> None:
        """What the window's close button does: gfx.getchar returns -1 from now on."""
        self.close()

    def open(self, title: str, width: float, height: float) -> None:
        host = self.script.host
        self.title, self.is_open = title, True
        self.variables |= {"w": width, "h": height}
        if self not in host.windows:
            host.windows.append(self)
            host.focus = "gfx"

    def close(self) -> None:
        host = self.script.host
        self.is_open = False
        if self in host.windows:
            host.windows.remove(self)
            if host.focus == "gfx":
                host.focus = "arrange"

    def end_frame(self) -> None:
        self.drawn, self._frame = self._frame, []
        self.rects, self._frame_rects = self._frame_rects, []
        self.rect_colors, self._frame_rect_colors = self._frame_rect_colors, []

    def draw(self, string: str, flags: int, right: float | None, bottom: float | None) -> None:
        """Draws at gfx.x, gfx.y and moves gfx.x behind; with `right` and `bottom` aligned in that rectangle."""
        now = self.variables
        width, height = measured(string, now["texth"])
        x, y = now["x"], now["y"]
        if right is not None and bottom is not None:
            x += (right - x - width) * (0.5 if flags & 1 else 1.0 if flags & 2 else 0.0)
            y += (bottom - y - height) * (0.5 if flags & 4 else 1.0 if flags & 8 else 0.0)
        self._frame.append(Drawn(string, x, y, width, height, (now["r"], now["g"], now["b"])))
        now["x"] += width

    def rectangle(self, x: float, y: float, width: float, height: float) -> None:
        self._frame_rects.append((x, y, width, height))
        now = self.variables
        self._frame_rect_colors.append((now["r"], now["g"], now["b"]))


def measured(string: str, height: float) -> tuple[float, float]:
    """Pixels of a text: half as wide as high per character."""
    lines = string.split("\n")
    return max(map(len, lines)) * height / 2, height * len(lines)


def gfx_is_function(name: Any) -> bool:
    return name in FEWEST_AND_MOST


def gfx_get(window: Window, name: Any) -> float:
    if name not in window.variables:
        raise DoesNotExist(f"gfx.{name}: the double knows no such variable or function")
    return window.variables[name]


def gfx_set(window: Window, name: Any, value: Any) -> None:
    if name not in window.variables:
        raise DoesNotExist(f"gfx.{name}: no such variable")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadCall(f"gfx.{name} is a number, not {value!r}")
    window.variables[name] = float(value)


def gfx_call(window: Window, name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    fewest, most = FEWEST_AND_MOST[name]
    if not fewest <= len(given) <= most:
        raise BadCall(f"gfx.{name}: {fewest} to {most} arguments expected, {len(given)} given")
    starts_with_text = name in ("init", "drawstr", "measurestr")
    for index, value in enumerate(given):
        is_text = (index == 0 and starts_with_text) or (index == 1 and name in ("setfont", "setcursor"))
        wanted: Any = (str, bytes) if is_text else (int, float)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise BadCall(f"gfx.{name}: argument {index + 1} must be a {'string' if is_text else 'number'}")
    return FUNCTIONS.get(name, _nothing)(window, *(text(value) if isinstance(value, str) else value for value in given))


def _nothing(_window: Window, *_given: Any) -> tuple[Any, ...]:
    return ()


def _init(window: Window, title: str, *geometry: float) -> tuple[Any, ...]:
    """`geometry`: width, height, dock, x, y as far as they are given. An open window keeps what is not."""
    w, h, dock, x, y = (*map(float, geometry), *(window.w, window.h, window.docked, *window.position)[len(geometry) :])
    window.open(title, w, h)
    window.docked, window.position = dock, (x, y)
    return (1.0,)


def _quit(window: Window) -> tuple[Any, ...]:
    window.close()
    return ()


def _getchar(window: Window, char: float = 0, _unicode: float = 0) -> tuple[Any, ...]:
    """65536 asks for the window's state: 1 open, 2 has the focus, 4 visible."""
    if not window.is_open:
        return (CLOSED,)
    if char == 65536:
        return (5.0 + 2.0 * (window.script.host.focus == "gfx"),)
    if char:
        return (0.0,)
    return (window.keys.pop(0) if window.keys else 0.0,)


def _update(window: Window) -> tuple[Any, ...]:
    window.end_frame()
    return ()


def _set(window: Window, *given: float) -> tuple[Any, ...]:
    """One value is a grey; alpha goes back to 1 when it is not given."""
    red, green, blue = (given + (given[0],) * 3)[:3] if len(given) == 1 else (*given, 0.0, 0.0)[:3]
    window.variables |= {"r": float(red), "g": float(green), "b": float(blue)}
    window.variables["a"] = float(given[3]) if len(given) > 3 else 1.0
    return ()


def _rect(window: Window, x: float, y: float, w: float, h: float, filled: float = 1) -> tuple[Any, ...]:
    if filled:
        window.rectangle(float(x), float(y), float(w), float(h))
    return ()


def _drawstr(
    window: Window, string: str, flags: float = 0, right: float | None = None, bottom: float | None = None
) -> tuple[Any, ...]:
    window.draw(string, int(flags), right, bottom)
    return ()


def _measurestr(window: Window, string: str) -> tuple[Any, ...]:
    return measured(string, window.variables["texth"])


def _setfont(window: Window, index: float, _face: str = "", size: float = 0, _flags: float = 0) -> tuple[Any, ...]:
    if size:
        window.variables["texth"] = float(size)
    return (1.0,)


def _dock(window: Window, value: float, *_geometry: float) -> tuple[Any, ...]:
    if value >= 0:
        window.docked = float(value)
    answer = (window.docked, *window.position, window.variables["w"], window.variables["h"])
    return answer[: 1 + len(_geometry)]


FUNCTIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "init": _init, "quit": _quit, "getchar": _getchar, "update": _update, "set": _set, "rect": _rect,
    "drawstr": _drawstr, "measurestr": _measurestr, "setfont": _setfont, "dock": _dock,
}  # fmt: skip
