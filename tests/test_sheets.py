"""The pictures for model cards, of the shipped generator."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from engine.io.video import probe
from engine.render.generator import Generator
from models import sheet, sheets

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "weights" / "impressionism"


def test_a_model_folder_gives_its_sheets_and_its_walk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sheets.main([str(SHIPPED), "--out", str(tmp_path / "card"), "--seconds", "1"]) == 0
    generator = Generator(SHIPPED, "cpu")
    assert f"| {generator.manifest.rungs[-1].name} | " in capsys.readouterr().out
    assert Image.open(tmp_path / "card" / "sheet.jpg").size == (8 * sheets.TILE, 8 * sheets.TILE)
    for name, columns in (("directions", len(sheets.DEVIATIONS)), ("rungs", 8)):
        assert Image.open(tmp_path / "card" / f"{name}.jpg").width > columns * sheets.TILE
    assert probe(tmp_path / "card" / "walk.mp4").frames == 30


def test_rungs_are_compared_with_the_best_and_lower_ones_are_further_off() -> None:
    differences = list(sheets.rung_differences(Generator(SHIPPED, "cpu"), 4).values())
    assert differences[0] == 0.0
    assert differences == sorted(differences)
    assert 0.5 < differences[-1] < 30.0


def test_a_grid_is_filled_row_by_row() -> None:
    cells = [np.full((2, 2, 3), value, np.uint8) for value in range(7)]
    made = sheet.grid(cells, columns=3)
    assert made.shape == (4, 6, 3)
    assert made[::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_unknown_name_gets_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert sheets.main(["nobody"]) == 2
    assert "no model 'nobody' here" in capsys.readouterr().err
