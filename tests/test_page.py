"""The web page: built from its sources, and driven in a real browser."""

import gzip
import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "engine" / "web" / "page"
BUILT = ROOT / "engine" / "web" / "built"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_built_page_is_that_of_the_sources() -> None:
    """The build writes down the hashes of what it read and of what it wrote, so no Node is needed here."""
    record = json.loads((BUILT / "built.json").read_text())
    paths = [SOURCES / name for name in ("build.mjs", "package-lock.json", "package.json", "tsconfig.json")]
    paths += [path for path in (SOURCES / "src").rglob("*") if path.is_file()]
    names = sorted(str(path.relative_to(SOURCES).as_posix()) for path in paths)
    lines = "".join(f"{sha256(SOURCES / name)}  {name}\n" for name in names)
    assert record["sources"] == hashlib.sha256(lines.encode()).hexdigest(), "run make page"
    built = {path.name: sha256(path) for path in BUILT.iterdir() if path.name != "built.json"}
    assert record["built"] == built, "run make page"


def test_the_page_is_small_and_asks_nobody_else() -> None:
    served = [path for path in BUILT.iterdir() if path.suffix in (".html", ".js", ".css", ".svg", ".woff2")]
    assert len(served) == 5
    assert sum(len(gzip.compress(path.read_bytes())) for path in served) < 60_000
    for path in served:
        if path.suffix in (".html", ".css"):
            assert "//" not in path.read_text().replace("/*", "")
    page = (BUILT / "index.html").read_text()
    assert "<style" not in page
    assert "<script>" not in page
    assert "style=" not in page
