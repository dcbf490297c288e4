"""mrt/data/stream.py: Training on batches as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import mrt
from mrt.data import Stream
from tests.support import digits


def net() -> Any:
    torch.manual_seed(0)
    return mrt.models.DigitsCNN(width=4)


def weights(model: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def fit(model: Any, data: Any, strategy: Any = None, **how: Any) -> mrt.Run:
    how = {"epochs": 2, "optimizer": mrt.SGD(0.05), "progress": False, **how}
    return mrt.fit(model, strategy or mrt.Standard(), data, **how)


def test_a_stream_of_the_same_batches_is_the_same_training() -> None:
    """Whole data in the order in which fit would visit them, served as a stream."""
    x, y = digits(60)
    visits = [mrt.data.order(60, seed=0, epoch=e).split(20) for e in range(2)]
    batches = iter([(x[i], y[i]) for epoch in visits for i in epoch])
    stream = Stream(lambda: next(batches), 60, 20)
    a, b = net(), net()
    run = fit(a, stream)
    fit(b, (x, y), batch_size=20)
    assert all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))
    assert [row["step"] for row in run.metrics] == [3, 6] and next(batches, None) is None


def test_a_loader_again_and_again() -> None:
    x, y = digits(50)
    seen: list[int] = []

    def strategy(model: Any, x: Any, y: Any, step: Any) -> Any:
        seen.append(len(x))
        assert torch.equal(step.x_raw, x) and len(step.seeds) == len(x)
        assert x.is_contiguous(memory_format=torch.channels_last)
        return torch.nn.functional.cross_entropy(model(x), y)

    loader = DataLoader(TensorDataset(x, y), batch_size=20)
    stream = Stream.of(loader)
    assert len(stream) == 50
    fit(net(), stream, strategy)
    assert seen == [20, 20, 10] * 2
    seen.clear()
    fit(net(), Stream.of([(x[:8], y[:8])], size=16, batch_size=8), strategy, epochs=1)
    assert seen == [8, 8]


def test_a_strategy_with_a_state_starts_from_the_first_batch_and_trains_on_it() -> None:
    x, y = digits(40)
    drawn: list[int] = []

    def draw() -> Any:
        drawn.append(1)
        return x[:20], y[:20]

    run = fit(net(), Stream(draw, 40, 20), mrt.PGN(5.0, width=4), validation=digits(10), epochs=1)
    assert len(drawn) == 2 and "clean" in run.metrics[-1]
    seeds: list[torch.Tensor] = []

    def strategy(model: Any, x: Any, y: Any, step: Any) -> Any:
        seeds.append(step.seeds)
        return torch.nn.functional.cross_entropy(model(x), y)

    fit(net(), Stream(draw, 40, 20), strategy, epochs=2)
    assert len(torch.cat(seeds).unique()) == 80  # fresh noise for each, though the images are the same


def test_sources_that_do_not_say_or_do_not_last() -> None:
    x, y = digits(8)
    with pytest.raises(ValueError, match="say the size and batch_size of a list"):
        Stream.of([(x, y)])
    with pytest.raises(ValueError, match="list_iterator gives no batch a second time"):
        fit(net(), Stream.of(iter([(x, y)]), 16, 8))
    drawn: list[int] = []

    def draw() -> Any:
        drawn.append(1)
        return x, y

    with pytest.raises(ValueError, match=r"validation needs images of shape \(1, 8, 8\)"):
        fit(net(), Stream(draw, 80, 8), validation=(x[:, :, 1:], y))
    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("data", "how", "says"),
    [
        (lambda x, y: Stream(lambda: (x, y), 0, 4), {}, "size.*0"),
        (lambda x, y: Stream(lambda: (x, y), 8, 0), {}, "batch_size.*0"),
        (lambda x, y: Stream(lambda: (x * 255, y), 8, 4), {}, r"a batch of the stream must lie in \[0, 1\]"),
        (lambda x, y: Stream(lambda: (x, y.float()), 8, 4), {}, "its labels must be"),
        (lambda x, y: Stream(lambda: (x.flatten(1), y), 8, 4), {}, r"\(N, C, H, W\)"),
        (lambda x, y: Stream(lambda: (x, y), 8, 3), {}, "at most 3 images; got 4"),
        (lambda x, y: Stream(lambda: (x, y), 8, 4), {"labelled": 0.5}, "no labelled= share"),
        (lambda x, y: Stream(lambda: (x, y), 8, 4), {"out": "runs"}, "cannot be resumed"),
    ],
)
def test_bad_streams(data: Any, how: dict[str, Any], says: str, tmp_path: Path) -> None:
    if "out" in how:
        how = {"out": tmp_path / "out"}
    with pytest.raises(ValueError, match=says):
        fit(net(), data(*digits(4)), **how)
    assert not (tmp_path / "out").exists()
