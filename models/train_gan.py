"""Trains a generator: `python -m models.train_gan --images DIR --size 256 --minutes 60 --out DIR [--resume]`.

The loop plays the minimax game of Goodfellow et al. 2014 (arXiv:1406.2661, algorithm 1) in six steps, coarse
to fine: whole pictures at 64 px first, then windows of 64 px of larger pictures in turn with them, so that a
step costs about the same at any size. With `--model vae` it fits an autoencoder instead, whose decoder is the
same generator: `--from` it, a game begins with pictures in place of noise, and is held to them.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from models import checkpoint, gan, judge_gan, parallel, pictures, projected
from models.allocator import keep_freed_memory
from models.augment import augment
from models.autocast import autocast
from models.gan import Discriminator, Encoder, Generator, Shape, downsample, draw_noise
from models.journal import Journal, sheet, side_by_side
from models.stopping import stop_requests

WEIGHTS = Path(__file__).parent / "weights"
SIZES = (32, 64, 128, 256, 512)  # px
BATCH = {
    "cpu": 8,
    "cuda": 32,
}  # pictures a step and process: on a CPU small steps learn faster than few large
LEARNING_RATE = 0.002  # Karras et al. 2020; so are the game's betas and the lazy interval of R1
PROJECTED_RATE = 0.0002  # of a projected discriminator, whose weights are not equalised (Sauer et al. 2021)
BETAS = {"gan": (0.0, 0.99), "vae": (0.9, 0.99)}
R1_INTERVAL = 16  # steps
R1_SCALE = 0.0008  # weight = scale * side^2 / batch: StyleGAN2-ADA's heuristic x 4, as data are few
EMA_SHARE = 0.05  # half-life of the averaged generator as a share of the pictures seen, at most EMA_MOST
EMA_MOST = 10_000  # pictures (Karras et al. 2020)
MIXING = 0.5  # share of steps with style mixing (Karras et al. 2019 use 0.9 with far more pictures)
WHOLE_SHARE = 0.5  # of the budget for whole pictures alone; larger sizes share the rest
AIMS = {"rungs": 5.0, "held": 8.0, "unlike": 2.0, "nats": 0.0025}  # weights of what `aims` returns
LOWEST_RUNG = 64  # px
HELD_SIDE = 16  # px; what is finer than that is the game's
# Of the VAE's pictures about what their latents say: less shows more, and leaves gaps between the latents.
VARIANCE = 2.0
CHECKPOINT_S = 180.0

# What the discriminator loses by its scores of real and of generated pictures, and the generator by those
# of its own; all are minimised. `minimax` is the value of the game itself, whose gradient vanishes while
# the discriminator wins; `non-saturating` is Goodfellow's remedy in the same paper (section 3); `hinge`
# (Lim and Ye 2017, arXiv:1705.02894) lets be what is told apart well enough.
Loss = Callable[[Tensor], Tensor]
LOSSES: dict[str, tuple[Loss, Loss, Loss]] = {
    "minimax": (
        lambda real: F.softplus(-real).mean(),
        lambda fake: F.softplus(fake).mean(),
        lambda own: -F.softplus(own).mean(),
    ),
    "non-saturating": (
        lambda real: F.softplus(-real).mean(),
        lambda fake: F.softplus(fake).mean(),
        lambda own: F.softplus(-own).mean(),
    ),
    "hinge": (
        lambda real: F.relu(1 - real).mean(),
        lambda fake: F.relu(1 + fake).mean(),
        lambda own: -own.mean(),
    ),
}
# The kinds of discriminator, each with the loss that its authors play it with.
DISCRIMINATORS = {"plain": "non-saturating", "projected": "hinge"}


@dataclass
class Run:
    """What a training works on."""

    data: pictures.Pictures
    shape: Shape
    loss: str
    networks: nn.ModuleDict  # generator, average; encoder, if any; discriminators by the side of the picture
    projection: projected.Projection | None  # what a projected discriminator looks through
    adams: dict[str, torch.optim.Adam]
    facts: dict[str, Any]
    device: torch.device
    batch: int

    @property
    def generator(self) -> Generator:
        """The generator that learns."""
        return self.networks["generator"]  # type: ignore[return-value]

    @property
    def average(self) -> Generator:
        """The generator that plays: the mean of the one that learns."""
        return self.networks["average"]  # type: ignore[return-value]


def scales_of(shape: Shape) -> list[int]:
    """Return the sides of pictures that the game is played at: the view, and each size above it."""
    return [2 * side for side in shape.sides if 2 * side >= shape.view]


def scale_at(progress: float, step: int, scales: list[int]) -> int:
    """Return the side to play at after a share of the budget: a new one joins the turn after a while."""
    late = max(0.0, progress - WHOLE_SHARE) / (1 - WHOLE_SHARE) if len(scales) > 1 else 0.0
    joined = scales[1 : 2 + min(int(late * (len(scales) - 1)), len(scales) - 2)] if late > 0 else []
    return joined[step // 2 % len(joined)] if joined and step % 2 else scales[0]


def levels_of(shape: Shape, scale: int) -> tuple[int, ...]:
    """Return the sides of the noise of a picture of a scale, or of a window where that exceeds the view."""
    small = tuple(side for side in shape.sides if 2 * side <= min(scale, shape.view))
    steps = (scale // shape.view).bit_length() - 1
    return small + tuple(shape.view // 2 ** (steps - number) for number in range(steps))


def draw(run: Run, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return real pictures, (batch, 3, size, size) of -1 to 1, mirrored by chance, and their labels."""
    shares = run.data.shares.to(run.device)
    chosen = torch.multinomial(shares, run.batch, replacement=True, generator=rng).cpu()
    real = run.data.pixels[chosen].to(run.device).float() / 127.5 - 1
    mirrored = torch.rand(run.batch, 1, 1, 1, generator=rng, device=run.device) < 0.5
    return torch.where(mirrored, real.flip(3), real), run.data.labels[chosen].to(run.device)


def seen(real: Tensor, scale: int, corner: tuple[int, int] | None, view: int) -> Tensor:
    """Return what the discriminator is shown of real pictures: all, made small, or a window."""
    real = F.adaptive_avg_pool2d(real, scale)
    if corner is None:
        return real
    top, left = (edge * 2 * scale // view for edge in corner)
    return real[:, :, top : top + view, left : left + view]


def draw_corner(scale: int, view: int, rng: torch.Generator) -> tuple[int, int] | None:
    """Return where a window lies in the features of half the view; None where the whole is seen."""
    if scale <= view:
        return None
    most = view // 2 - view // 2 * view // scale
    top, left = torch.randint(0, most + 1, (2,), generator=rng, device=rng.device).tolist()
    return top, left


def fakes(
    run: Run, z: Tensor, labels: Tensor, scale: int, corner: tuple[int, int] | None, rng: torch.Generator
) -> tuple[list[Tensor], list[Tensor]]:
    """Return generated pictures at each level, (batch, 3, side, side), and what each level adds.

    In some batches the styles of two latents are mixed, coarse and fine. The noise has any strength from 0
    to 1, as it has on stage.
    """
    shape, device = run.shape, run.device
    strength = torch.rand((), generator=rng, device=device)
    noise = [strength * each for each in draw_noise(run.batch, levels_of(shape, scale), rng)]
    cut = torch.randint(1, shape.num_ws, (), generator=rng, device=device)
    mixed = torch.rand((), generator=rng, device=device) < MIXING
    late = ((torch.arange(shape.num_ws, device=device) >= cut) & mixed)[None, :, None]
    with autocast(device.type):
        w = run.generator.mapping(z, labels)
        ws = torch.where(late, w.roll(1, 0)[:, None], w[:, None])  # (batch, num_ws, w_dim)
        shots, details = run.generator.synthesis(ws, noise, corner)
        return [shot.float() for shot in shots], [detail.float() for detail in details]


def look(run: Run, pictures: Tensor) -> list[Tensor]:
    """Return what a discriminator goes by: the pictures, or what a projection makes of them."""
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    if run.projection is None:
        return [pictures]
    with autocast(run.device.type):
        features: list[Tensor] = run.projection(pictures)
        return features


def judge(run: Run, scale: int, seen: list[Tensor], labels: Tensor) -> Tensor:
    """Return the scores (batch, n) of what was looked at."""
    with autocast(run.device.type):
        scores: Tensor = run.networks[f"discriminator_{scale}"](*seen, label=labels)
        return scores.float()


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    """Take one step down the gradient of a loss, its mean over all processes."""
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parallel.average_gradients(each for group in adam.param_groups for each in group["params"])
    adam.step()


def encoded(run: Run, real: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a latent of each real picture, drawn as its encoder has it, and the divergence from N(0, 1)."""
    with autocast(run.device.type):
        mean, log_variance = (each.float() for each in run.networks["encoder"](real))
    drawn = torch.randn(mean.shape, generator=rng, device=run.device)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return mean + (0.5 * log_variance).exp() * drawn, divergence


def play(run: Run, scale: int, rng: torch.Generator) -> dict[str, float]:
    """Play one round of the game at a scale; return its figures."""
    view = run.shape.view
    corner = draw_corner(scale, view, rng)

    # 1 and 2. Sample a minibatch of latents, and one of real pictures. A latent becomes a picture of the
    #    same class. Where there is an encoder, every other latent is that of a real picture.
    real, labels = draw(run, rng)
    small = F.adaptive_avg_pool2d(real, view)
    z = torch.randn(run.batch, run.shape.z_dim, generator=rng, device=run.device)
    spoken: dict[str, Tensor] = {}
    if "encoder" in run.networks:
        z[::2], spoken["nats"] = encoded(run, small[::2], rng)
    shots, details = fakes(run, z, labels, scale, corner, rng)
    changes = rng.get_state()
    fake = look(run, augment(shots[-1], rng))
    original: list[Tensor] = []
    if "encoder" in run.networks and run.projection is not None:
        rng.set_state(changes)
        with torch.no_grad():
            original = look(run, augment(seen(real, scale, corner, view), rng)[::2])

    # 3. Ascend the discriminator's gradient of log D(x) + log(1 - D(G(z))), less the R1 penalty on its
    #    gradient at real pictures (Mescheder et al. 2018, arXiv:1801.04406) every sixteenth time. A projected
    #    discriminator is held by its spectral norm instead.
    of_real, of_fake, of_generated = LOSSES[run.loss]
    regularise = run.projection is None and run.facts["step"] // 2 % R1_INTERVAL == 0
    real, labels_real = draw(run, rng)
    shown = augment(seen(real, scale, corner, view), rng).requires_grad_(regularise)
    score_real = judge(run, scale, look(run, shown), labels_real)
    score_fake = judge(run, scale, [each.detach() for each in fake], labels)
    loss_d = of_real(score_real) + of_fake(score_fake)
    penalty = torch.zeros((), device=run.device)
    if regularise:
        (slope,) = torch.autograd.grad(score_real.sum(), shown, create_graph=True)
        penalty = slope.square().sum((1, 2, 3)).mean()
    r1 = R1_SCALE * view**2 / run.batch / 2 * R1_INTERVAL
    descend(run.adams[f"discriminator_{scale}"], loss_d + r1 * penalty)

    # 4. Repeat 1 to 3 k times: k = 1, as in the paper's experiments.

    # 5. Sample a minibatch of latents: that of step 1 serves again, which saves a pass through each network.

    # 6. Descend the generator's gradient of its loss.
    discriminator = run.networks[f"discriminator_{scale}"].requires_grad_(False)
    loss_g = of_generated(judge(run, scale, fake, labels))
    discriminator.requires_grad_(True)
    beside = aims(run, shots, details, small, fake, original) | spoken
    descend(run.adams["generator"], loss_g + sum(AIMS[name] * value for name, value in beside.items()))

    figures = {"loss_d": loss_d, "loss_g": loss_g, **beside}
    if regularise:
        figures["r1"] = r1 / R1_INTERVAL * penalty
    return {name: value.item() for name, value in figures.items()}


def aims(
    run: Run,
    shots: list[Tensor],
    details: list[Tensor],
    small: Tensor,
    fake: list[Tensor],
    original: list[Tensor],
) -> dict[str, Tensor]:
    """Return what the generator keeps small beside the game, by name.

    A head above the lowest rung must add nothing that is seen once its picture is made small again, so that
    all rungs agree (`rungs`). And pictures of encoded latents, every other one, must resemble their
    originals: from afar (`held`), and as a projection sees them (`unlike`, in deviations of its features;
    Larsen et al. 2016, arXiv:1512.09300), so that none of the variety is lost.
    """
    apart = torch.zeros((), device=run.device)
    for side, detail in zip(run.shape.sides, details, strict=False):
        if 2 * side > LOWEST_RUNG:
            apart = apart + downsample(detail).square().mean()
    found = {"rungs": apart}
    if "encoder" in run.networks:
        whole = shots[run.shape.sides.index(run.shape.view // 2)]
        made, real = (F.adaptive_avg_pool2d(each[::2], HELD_SIDE) for each in (whole, small))
        found["held"] = F.mse_loss(made, real)
    if original:
        pairs = zip(fake, original, strict=True)
        each = [(made[::2] - real).abs().mean() / real.std() for made, real in pairs]
        found["unlike"] = torch.stack(each).mean()
    return found


# The variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114) learns from pictures what the game
# learns from a critic. Its pictures are soft, as it takes the mean of all that a latent may be; but it learns
# in minutes where horizons and colours go, leaves no kind of picture out, and knows the way back.
def fit(run: Run, scale: int, rng: torch.Generator) -> dict[str, float]:
    """Take one step of the autoencoder up its evidence lower bound; return its figures."""
    real, labels = draw(run, rng)
    small = F.adaptive_avg_pool2d(real, scale)
    z, divergence = encoded(run, small, rng)
    with autocast(run.device.type):
        ws = run.generator.mapping(z, labels)[:, None].expand(-1, run.shape.num_ws, -1)
        noise = [0.0 * each for each in draw_noise(1, levels_of(run.shape, scale), rng)]
        shots = run.generator.synthesis(ws, noise)[0]
    error = (shots[-1].float() - small).square()
    descend(run.adams["vae"], error.sum((1, 2, 3)).mean() / (2 * VARIANCE) + divergence)
    return {"psnr_db": -10 * torch.log10(error.mean() / 4).item(), "nats": divergence.item()}


def build(
    data: pictures.Pictures, shape: Shape, model: str, facts: dict[str, Any], loss: str, batch: int
) -> Run:
    """Return a run with fresh networks on this process's device."""
    device = parallel.start()
    projecting = model == "gan" and facts["discriminator"] == "projected"
    projection = projected.Projection().to(device, memory_format=torch.channels_last) if projecting else None  # type: ignore[call-overload]
    critic = projected.Discriminator if projecting else Discriminator
    networks: dict[str, nn.Module] = {"generator": Generator(shape)}
    networks["average"] = copy.deepcopy(networks["generator"]).requires_grad_(False)
    if facts["encoder"]:
        networks["encoder"] = Encoder(shape)
    if model == "gan":
        networks |= {f"discriminator_{scale}": critic(shape) for scale in scales_of(shape)}
    parts = nn.ModuleDict(networks).to(device)
    parts.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def adam(*names: str) -> torch.optim.Adam:
        parameters = [each for name in names for each in parts[name].parameters()]
        slow = projecting and names[0].startswith("discriminator")
        return torch.optim.Adam(
            parameters, PROJECTED_RATE if slow else LEARNING_RATE, BETAS[model], fused=True
        )

    if model == "vae":
        adams = {"vae": adam("generator", "encoder")}
    else:
        makers = [name for name in ("generator", "encoder") if name in networks]
        adams = {name: adam(name) for name in networks if name.startswith("discriminator")}
        adams["generator"] = adam(*makers)
    return Run(data, shape, loss, parts, projection, adams, facts, device, batch)


def folder_of(source: str) -> Path:
    """Return where a checkpoint to begin from lies: a folder of training, or a shipped generator's."""
    for folder in (Path(source), WEIGHTS / source):
        if (folder / checkpoint.FILE).is_file():
            return folder
    shipped = sorted(path.parent.name for path in WEIGHTS.glob(f"*/{checkpoint.FILE}"))
    raise ValueError(
        f"--from {source}: neither a folder with a {checkpoint.FILE} nor a shipped generator that has one; "
        f"those are {', '.join(shipped) or 'none'}"
    )


def begin(source: str, networks: nn.ModuleDict) -> None:
    """Fill networks from a checkpoint: a folder, or the name of a shipped generator.

    What does not fit, because the classes or the size are others, begins anew. ValueError where nothing fits.
    """
    folder = folder_of(source)
    tensors, facts = checkpoint.load(folder)
    if facts.get("kind") not in ("gan", "vae"):
        raise ValueError(f"{folder}: a checkpoint of kind {facts.get('kind')}, where a generator's is needed")
    learned = checkpoint.unpack("average", tensors)
    tensors |= checkpoint.pack("generator", learned)
    fitting = 0
    with torch.no_grad():
        for name, value in networks.state_dict().items():
            if name in tensors and tensors[name].shape == value.shape:
                value.copy_(tensors[name])
                fitting += name.startswith("generator.")
    if fitting < len(learned) / 2:
        raise ValueError(f"{folder}: its generator is of {facts['shape']}; choose the same --preset")


def has_encoder(source: str) -> bool:
    """Return whether a checkpoint to begin from has an encoder."""
    return any(name.startswith("encoder.") for name in checkpoint.load(folder_of(source))[0])


def restore(run: Run, out: Path) -> None:
    """Give a run what `save` kept."""
    tensors, known = checkpoint.load(out)
    facts = run.facts
    for key in ("kind", "shape", "classes", "encoder", "discriminator"):
        if known.get(key, "plain") != facts[key]:
            raise ValueError(f"{out}: the checkpoint is of {key} {known.get(key)}, not {facts[key]}")
    run.networks.load_state_dict({name: tensors[name] for name in run.networks.state_dict()})
    for name, adam in run.adams.items():
        checkpoint.set_adam(adam, checkpoint.unpack(f"adam.{name}", tensors))
    facts |= {key: value for key, value in known.items() if key != "loss"}


def save(run: Run, out: Path) -> None:
    """Keep all that going on needs."""
    tensors = dict(run.networks.state_dict())
    for name, adam in run.adams.items():
        tensors |= checkpoint.pack(f"adam.{name}", checkpoint.adam_tensors(adam))
    checkpoint.save(out, tensors, run.facts)


@torch.no_grad()
def mirrored_pairs(run: Run) -> Any:
    """Return eight pictures of the collection above what the autoencoder makes of them."""
    some = torch.linspace(0, len(run.data.pixels) - 1, 8).long()
    real = F.adaptive_avg_pool2d(run.data.pixels[some].to(run.device).float() / 127.5 - 1, run.shape.view)
    z, _ = run.networks["encoder"](real)
    ws = run.average.mapping(z, run.data.labels[some].to(run.device))[:, None].expand(
        -1, run.shape.num_ws, -1
    )
    noise = [
        torch.zeros(1, 1, side, side, device=run.device) for side in levels_of(run.shape, run.shape.view)
    ]
    return side_by_side(torch.cat([real, run.average.synthesis(ws, noise)[0][-1]]))


def follow(average: Iterable[Tensor], learning: Iterable[Tensor], seen_before: int, batch: int) -> None:
    """Move the averaged weights after those that learn; half of what is old is forgotten in one half-life."""
    half_life = min(EMA_MOST, EMA_SHARE * (seen_before + batch))
    with torch.no_grad():
        torch._foreach_lerp_(list(average), list(learning), 1 - 0.5 ** (batch / half_life))


def train(
    images: Path,
    out: Path,
    size: int = 256,
    model: str = "gan",
    minutes: float | None = None,
    steps: int | None = None,
    label: str | None = None,
    classes: list[str] | None = None,
    weights: dict[str, float] | None = None,
    discriminator: str = "plain",
    loss: str | None = None,
    preset: str = "S",
    source: str | None = None,
    resume: bool = False,
    seed: int = 0,
    batch: int | None = None,
) -> None:
    """Train on the pictures in `images` until the budget (`minutes` or `steps` in all) is used up.

    `out` receives the checkpoint, sample sheets, curves and TensorBoard events. ValueError where the pictures
    or the checkpoint won't do. With `steps`, an interrupted run that is resumed ends with the weights of an
    uninterrupted one: each step's randomness follows from the seed and the step's number alone.
    """
    data, held = pictures.parted(pictures.read(images, size, label, classes or (), weights))
    shape = Shape(size, len(data.classes), preset)
    torch.manual_seed(seed)
    loss = loss or DISCRIMINATORS[discriminator]
    facts: dict[str, Any] = {
        "kind": model,
        "shape": asdict(shape),
        "classes": list(data.classes),
        "encoder": model == "vae" or (source is not None and has_encoder(source)),
        "discriminator": discriminator,
        "loss": loss,
        "source": source,
        "seed": seed,
        "pictures": len(data.pixels),
        "step": 0,
        "pictures_seen": 0,
        "seconds": 0.0,
        "playing": shape.view,
        "curve": [],
    }
    known = checkpoint.load(out)[1] if resume else {}
    if resume:
        facts["encoder"] = known.get("encoder", False)
    run = build(
        data, shape, model, facts, loss, batch or BATCH["cuda" if torch.cuda.is_available() else "cpu"]
    )
    if resume:
        restore(run, out)
    elif source is not None:
        begin(source, run.networks)
    first = parallel.rank() == 0
    journal = None
    if first:
        out.mkdir(parents=True, exist_ok=True)
        journal = Journal(out)
    scales = scales_of(shape)
    rng = torch.Generator(run.device)

    def progress() -> float:
        spent = facts["step"] / steps if steps else facts["seconds"] / (60 * (minutes or 60.0))
        return min(float(spent), 1.0)

    def keep() -> None:
        if journal is not None:
            made = judge_gan.Trained(run.average, data.classes, facts["playing"])
            judged = {name: round(value, 4) for name, value in judge_gan.brief(made, held).items()}
            if judged:
                facts["curve"].append({"pictures": facts["pictures_seen"], **judged})
                journal.note(facts["curve"][-1])
            save(run, out)
            journal.show(
                f"sheet-{facts['pictures_seen']:07d}", sheet(run.average, facts["playing"]), facts["curve"]
            )
            if model == "vae":
                journal.show("pairs", mirrored_pairs(run), facts["curve"])

    bar = tqdm(
        total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=2, disable=not first
    )
    saved = shown_at = time.monotonic()
    shown_before, stopping = facts["pictures_seen"], 0.0
    line: dict[str, Any] = {}
    with stop_requests() as stop:
        while progress() < 1 and not stopping:
            began = time.monotonic()
            rng.manual_seed(((seed << 20) + parallel.rank() << 32) + facts["step"] & (1 << 63) - 1)
            scale = scales[0] if model == "vae" else scale_at(progress(), facts["step"], scales)
            facts["playing"] = max(facts["playing"], scale)
            line |= (fit if model == "vae" else play)(run, scale, rng)
            together = run.batch * parallel.world()
            follow(run.average.parameters(), run.generator.parameters(), facts["pictures_seen"], together)

            facts["step"] += 1
            facts["pictures_seen"] += together
            spent = facts["seconds"] + time.monotonic() - began
            facts["seconds"], stopping = parallel.most(spent, float(stop()))
            bar.update(100 * progress() - bar.n)
            if facts["step"] % (2 * R1_INTERVAL) == 1:
                rate = (facts["pictures_seen"] - shown_before) / (time.monotonic() - shown_at)
                shown_before, shown_at = facts["pictures_seen"], time.monotonic()
                line |= {"pictures": facts["pictures_seen"], "side": scale, "rate": rate}
                rounded = {name: round(value, 4) for name, value in line.items()}
                bar.set_postfix(rounded)
                if journal is not None:
                    journal.note(rounded)
                    facts["curve"].append(rounded)
            if time.monotonic() - saved > CHECKPOINT_S:
                keep()
                saved = time.monotonic()
    keep()
    bar.close()
    if journal is not None:
        journal.close()


def factor(text: str) -> tuple[str, float]:
    """Return the class and the factor of CLASS=FACTOR."""
    name, _, value = text.rpartition("=")
    number = float(value)
    if not name or not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: CLASS=FACTOR with a factor above 0 would be right")
    return name, number


def main() -> int:
    """Read the command line and train; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.train_gan", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures (subfolders too)")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, sheets and curves")
    parser.add_argument("--model", choices=("gan", "vae"), default="gan")
    parser.add_argument("--size", type=int, default=256, choices=SIZES, help="side in pixels")
    parser.add_argument("--preset", choices=gan.PRESETS, default="S", help="channels of the generator")
    parser.add_argument("--minutes", type=float, default=60.0, help="training time in all, resumed runs too")
    parser.add_argument("--label", help="column of index.csv that holds the class, such as artist")
    parser.add_argument("--classes", nargs="+", help="train on these alone, each a part of a class's name")
    parser.add_argument(
        "--weight", type=factor, action="append", dest="weights", metavar="CLASS=FACTOR",
        help="draw the pictures of a class so many times as often; repeat",
    )  # fmt: skip
    parser.add_argument(
        "--discriminator", choices=DISCRIMINATORS, default="plain",
        help="projected: one that looks through a classifier of photographs, and has far less to learn",
    )  # fmt: skip
    parser.add_argument("--loss", choices=LOSSES, help="non-saturating; of a projected discriminator hinge")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="NAME",
        help="begin from a shipped generator, or a folder of training",
    )
    parser.add_argument("--batch", type=int, help="pictures a step and process (8 on a CPU, 32 on a GPU)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    options["weights"] = dict(options["weights"] or ())
    keep_freed_memory()
    try:
        train(**options)
    except ValueError as error:
        print(f"train_gan: {error}", file=sys.stderr)
        return 2
    finally:
        parallel.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
