"""The peers of `chladni bench generators`: other engines give the picture that ours does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine import bench_generators as bench  # noqa: E402
from models import gan, peers  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def small() -> peers.Network:
    """A network of 32 px, exported in both precisions."""
    return peers.network(peers.random_generator(32), 32)


def test_grouped_kernels_give_the_picture_of_constant_ones(small: peers.Network) -> None:
    plain = peers.grouped(small.picture)
    kinds = [type(module) for module in plain.modules()]
    assert kinds.count(peers.Grouped) == kinds.count(gan.StyledConvolution) > 2
    with torch.no_grad():
        ours, theirs = small.picture(*small.feed.values()), plain(*small.feed.values())
    assert ours.float().std() > 1
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_every_engine_gives_our_picture(small: peers.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)  # it takes a minute
    found = list(peers.contenders(small))
    assert [(each.engine, each.precision) for each in found[:2]] == [("ours", "fp32"), ("ours", "int8")]
    speeds = bench.compare(found, 10)
    assert len(speeds) >= 5
    for speed in speeds:
        assert 0 < speed.p50_ms <= speed.p99_ms
        assert speed.levels_apart is not None
        assert speed.levels_apart < (0.5 if speed.precision == "fp32" else 12.0), speed
    for each in found:
        assert (each.make is None) == bool(each.missing)


def test_what_an_engine_lacks_is_named_and_costs_it_alone() -> None:
    def broken() -> peers.Make:
        raise RuntimeError("no such operator\nand a long story")

    assert peers._tried("X", "fp32", broken) == peers.Contender("X", "fp32", None, "no such operator")
    assert peers._tried("X", "fp32", broken, "not installed").missing == "not installed"


def test_rungs_that_are_here_are_timed_in_turns() -> None:
    speeds = bench.ladder("impressionism", 5)
    assert len(speeds) >= 2
    assert speeds[0].p50_ms > speeds[-1].p50_ms > 0
    order: list[str] = []

    def make(name: str) -> peers.Make:
        return lambda: (order.append(name), np.zeros((1, 1, 3), np.uint8))[1]

    times = bench.measure({"a": make("a"), "b": make("b")}, 3)
    assert order == ["a", "b"] * (3 + bench.WARM)
    assert all(median <= p99 for median, p99 in times.values())
    assert bench.processor()
