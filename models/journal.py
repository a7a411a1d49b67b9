"""What a training shows of itself: sheets of pictures, curves as a PNG, and TensorBoard event files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from models.gan import Generator

COLUMNS, ROWS = 8, 6  # of a sheet
PSI = 0.7  # truncation of the sheets
NOISE = 0.5  # its strength on them
PANEL = (640, 160)  # px, of one curve
COLOURS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#66a182")


def side_by_side(pictures: Tensor, columns: int = COLUMNS) -> Image.Image:
    """Return pictures (count, 3, side, side) of about -1 to 1 as one, in rows of `columns`."""
    pixels = (pictures * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    side = pixels.shape[1]
    rows = pixels.reshape(-1, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(np.ascontiguousarray(rows.reshape(-1, columns * side, 3)))


@torch.no_grad()
def sheet(generator: Generator, side: int) -> Image.Image:
    """Return a sheet of pictures at `side` px from fixed latents, the classes in turn from left to right."""
    shape, device = generator.shape, next(generator.parameters()).device
    rng = torch.Generator().manual_seed(1)
    count = COLUMNS * ROWS
    labels = (
        torch.eye(shape.classes)[torch.arange(count) % shape.classes].to(device) if shape.classes else None
    )
    w = generator.mapping(torch.randn(count, shape.z_dim, generator=rng).to(device), labels)
    middle = w.mean(0)
    ws = (middle + PSI * (w - middle))[:, None].expand(-1, shape.num_ws, -1)
    noise = [
        NOISE * torch.randn(1, 1, each, each, generator=rng).to(device)
        for each in shape.sides
        if 2 * each <= side
    ]
    return side_by_side(torch.cat([generator.synthesis(some, noise)[0][-1] for some in ws.split(COLUMNS)]))


def curves(lines: list[dict[str, Any]]) -> Image.Image:
    """Return one panel for each figure of a training's lines, along the pictures seen."""
    named = dict.fromkeys(name for line in lines for name in line)  # in the order of their first appearance
    names = [name for name in named if name not in ("pictures", "side")]
    width, height = PANEL
    image = Image.new("RGB", (width, height * len(names)), "white")
    draw = ImageDraw.Draw(image)
    seen = np.array([line["pictures"] for line in lines], float)
    for number, name in enumerate(names):
        values = np.array([line.get(name, np.nan) for line in lines], float)
        low, high = np.nanmin(values), np.nanmax(values)
        x = (width - 1) * seen / seen[-1]
        y = number * height + 20 + (height - 30) * (1 - (values - low) / (high - low or 1.0))
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if b == b]
        draw.line(points, fill=COLOURS[number % len(COLOURS)], width=2)
        draw.text((4, number * height + 4), f"{name}: {low:.3g} to {high:.3g}", fill="black")
    draw.text((width - 130, 4), f"{int(seen[-1])} pictures", fill="black")
    return image


class Journal:
    """Writes into a training's folder; what cannot be drawn yet is left out."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._events = SummaryWriter(str(out / "events"))

    def note(self, line: dict[str, Any]) -> None:
        """Add a line's figures to the event file."""
        for name, value in line.items():
            self._events.add_scalar(name, value, line["pictures"])

    def show(self, name: str, picture: Image.Image, lines: list[dict[str, Any]]) -> None:
        """Write a picture under a name that ends in the pictures seen, and the curves so far."""
        picture.save(self._out / f"{name}.png")
        if lines:
            curves(lines).save(self._out / "curves.png")
            self._events.add_image(
                name.split("-")[0], np.asarray(picture), lines[-1]["pictures"], dataformats="HWC"
            )
        self._events.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._events.close()
