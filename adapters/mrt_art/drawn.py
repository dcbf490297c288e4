"""ART's data generators as our streams of training data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mrt.data import Stream
from mrt.hosts.pixel_range import Range
from mrt_art.bridge import Bridge

Pair = tuple[Tensor, Tensor]


def open_stream(
    generator: Any, bridge: Bridge, held: Pair | None, room: float, idle: bool
) -> tuple[Stream, Pair, Range]:
    """Return the batches in [0, 1], the first of them, and the range that they were brought from. `room` is how far a
    pixel may move, `held` are images that the range has to hold as well. Of an idle stream nothing is drawn."""

    def draw() -> Pair:
        x, y = generator.get_batch()
        images = bridge.read_pixels(x)
        return images, bridge.read_labels(y, len(images))

    # The first batch is drawn now, since it is what answers are compared on, and trained on first.
    drawn = [] if idle else [draw()]
    if bridge.classifier.clip_values is None and drawn:  # later images may go beyond: room for them, too
        room += 2 * bridge.pixel_range(drawn[0][0]).width
    scale = bridge.pixel_range(*(images for images, _ in drawn + ([] if held is None else [held])), room=room)

    def draw_unit() -> Pair:
        images, classes = drawn.pop() if drawn else draw()
        return scale.to_unit(bridge.clip(images, scale)), classes

    # A short last batch is trained on: unlike the rest of an array it cannot wait for another epoch.
    stream = Stream(draw_unit, int(generator.size), int(generator.batch_size))
    first = (torch.empty(0), torch.empty(0))
    if drawn:
        first = scale.to_unit(bridge.clip(drawn[0][0], scale)), drawn[0][1]
    return stream, first, scale
