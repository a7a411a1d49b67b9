"""From a show file to a show that can play: the command's options taken in, what it names found beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.core.show import Show, ShowError, line_of, parse

_SHOW_OPTIONS = ("sound_ms", "picture_ms", "generator", "musician", "tight")
_SOUND_OPTIONS = ("device", "block")


@dataclass(frozen=True)
class ShowFile:
    """Where a show is written, and the options of the command, by name, that stand in place of its keys."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)

    def read(self) -> str:
        """Return the text. Raise ShowError."""
        try:
            data = self.path.read_bytes()
            return data.decode("utf-8-sig")  # some editors begin a file with its byte order
        except OSError as error:
            raise ShowError(f"{self.path}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
            raise ShowError(f"{self.path}:{line}: no UTF-8, byte {byte:#04x}: save it as UTF-8") from None

    def load(self, text: str) -> Show:
        """Return the show of a text, ready to play. Raise ShowError."""
        show = parse(text, str(self.path))
        said = {key: value for key, value in self.options.items() if value is not None}
        changed: dict[str, Any] = {
            key: None if said[key] == "none" else said[key] for key in _SHOW_OPTIONS if key in said
        }
        if show.performer is None and said.get("perform", "none") != "none":
            changed["performer"] = {"file": said["perform"]}
        if show.picture:
            changed["picture"] = show.picture.model_copy(update={"source": self._looked_at(show, text)})
        if show.audio:
            changed["audio"] = show.audio.model_copy(update={"device": self._heard(show, text)})
        sound = {key: said[key] for key in _SOUND_OPTIONS if key in said}
        if show.sound.soundfont:
            sound["soundfont"] = str(self.path.parent / show.sound.soundfont)
        if sound:
            changed["sound"] = show.sound.model_copy(update=sound)
        show = show.model_copy(update=changed)
        return _checked(self._with_controllers(show, text) if show.controller else show)

    def _looked_at(self, show: Show, text: str) -> str:
        """Return what the show looks at, found beside its file."""
        from engine.io.pictures import problem  # a second of OpenCV: only where there is a picture

        assert show.picture is not None
        source = show.picture.source
        if not source.startswith("camera:"):
            source = str(self.path.parent / source)
        if wrong := problem(source):
            raise ShowError(f"{self.path}:{line_of(text, ['picture', 'source'])}: picture.source: {wrong}")
        return source

    def _heard(self, show: Show, text: str) -> str:
        """Return what the show listens to; a sound file is found beside its own."""
        from engine.io.capture import is_file

        assert show.audio is not None
        beside = self.path.parent / show.audio.device
        if not is_file(show.audio.device):
            return show.audio.device
        if not beside.is_file():
            place = f"{self.path}:{line_of(text, ['audio', 'device'])}"
            raise ShowError(f"{place}: audio.device: no such file as {beside}")
        return str(beside)

    def _with_controllers(self, show: Show, text: str) -> Show:
        """Return the show with the default routes of its controllers, whose own maps lie beside its file."""
        from engine.io.controller_maps import MapError, load, with_default_routes

        placed = []
        for number, each in enumerate(show.controller):
            place = str(self.path.parent / each.map) if each.map.endswith(".toml") else each.map
            try:
                load(place)
            except MapError as error:
                line = line_of(text, ["controller", number, "map"])
                raise ShowError(f"{self.path}:{line}: controller[{number}].map: {error}") from None
            placed.append(each.model_copy(update={"map": place}))
        return with_default_routes(show.model_copy(update={"controller": tuple(placed)}))


def _checked(show: Show) -> Show:
    """Return a show that options have changed, checked again as a whole."""
    try:
        return Show.model_validate(show.model_dump(by_alias=True))
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][-1] if first["loc"] else "picture-ms").replace("_", "-")
        raise ShowError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None
