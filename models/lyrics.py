"""Writes down the sung text of MusicXML scores: `python -m models.lyrics DIR --language de > songs.txt`.

One piece a song, parted by an empty line, as `python -m models.train_lstm --text` reads it.
"""

import argparse
import re
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from tqdm import tqdm

# Words by which a language is told: the most frequent ones that the others do not have.
COMMON_WORDS = {
    "de": {"und", "ich", "der", "die", "das", "nicht", "ein", "mir", "du", "ist", "so", "mit", "wie"},
    "en": {"the", "and", "of", "my", "to", "that", "thy", "is", "with", "thou", "i", "for", "you"},
    "fr": {"le", "la", "les", "et", "de", "que", "je", "un", "une", "est", "mon", "dans", "qui"},
}
LEAST_LINE = 18  # characters; a shorter one goes on after its comma
LEAST_SONG = 80


def syllables(root: ElementTree.Element) -> list[str]:
    """Return the verses of a score, each as the first part sings it: words joined, not yet in lines."""
    verses: dict[str, str] = {}
    for part in root.iter("part"):
        own: dict[str, str] = {}
        for lyric in part.iter("lyric"):
            number = lyric.get("number", "1")
            place, text = (
                lyric.findtext("syllabic", "single"),
                "".join(t.text or "" for t in lyric.iter("text")),
            )
            goes_on = place in ("begin", "middle")
            own[number] = own.get(number, "") + text.strip() + ("" if goes_on else " ")
        for number, text in own.items():
            verses.setdefault(number, text)
    return [" ".join(text.split()) for _, text in sorted(verses.items())]


def lines(text: str) -> str:
    """Return a verse broken where it breathes: at a sentence's end, or after a long enough clause."""
    broken = ""
    for clause in re.split(r"(?<=[.,;:!?])\s+", text):
        begins = not broken or len(broken.rsplit("\n", 1)[-1]) >= LEAST_LINE
        broken += ("\n" if begins and broken else " " if broken else "") + clause
    return broken


def language(text: str) -> str:
    """Return the language whose common words are most frequent in a text."""
    words = re.findall(r"\w+", text.lower())
    return max(COMMON_WORDS, key=lambda name: sum(word in COMMON_WORDS[name] for word in words))


def read(path: Path) -> ElementTree.Element:
    """Return the score in a MusicXML file, compressed or not; ValueError if unreadable."""
    try:
        if path.suffix.lower() != ".mxl":
            return ElementTree.parse(path).getroot()
        with zipfile.ZipFile(path) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            (first, *_) = (
                each.attrib["full-path"] for each in container.iter() if "full-path" in each.attrib
            )
            return ElementTree.fromstring(archive.read(first))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise ValueError(f"{path}: not a readable MusicXML file ({error})") from error


def main() -> int:
    """Read the command line and write the songs to the standard output."""
    parser = argparse.ArgumentParser(prog="python -m models.lyrics", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of MusicXML scores")
    parser.add_argument("--language", choices=list(COMMON_WORDS), help="songs in this one alone")
    options = parser.parse_args()
    songs: list[str] = []
    for path in tqdm(sorted(options.folder.rglob("*.*xl*")), unit=" scores", mininterval=1):
        try:
            verses = syllables(read(path))
        except ValueError as error:
            print(f"lyrics: {error}", file=sys.stderr)
            return 2
        song = "\n".join(lines(verse) for verse in verses)
        if len(song) >= LEAST_SONG and options.language in (None, language(song)):
            songs.append(song)
    print("\n\n".join(dict.fromkeys(songs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
