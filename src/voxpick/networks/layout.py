"""Which channels of a densely connected stack belong to which layer and block."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Which channels belong to which block. Block 0 begins with the input channels."""

    in_channels: int
    width: int
    depth: int
    dilations: tuple[int, ...]

    @property
    def cycle(self) -> int:
        """Layers of a block, each with another dilation."""
        return len(self.dilations)

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last may have fewer layers."""
        return max(1, -(-self.depth // self.cycle))

    def start(self, block: int) -> int:
        """First channel of the block; for block == blocks the number of all channels."""
        return 0 if block == 0 else self.in_channels + self.width * min(block * self.cycle, self.depth)

    def layers(self, block: int) -> range:
        """The layers of a block, counted from 0 through all blocks."""
        return range(block * self.cycle, min((block + 1) * self.cycle, self.depth))

    def later(self, position: int, block: int) -> range:
        """Layers with the dilation at `position` in `block` and after it."""
        return range(block * self.cycle + position, self.depth, self.cycle)

    def before(self, layer: int) -> int:
        """Channels that the layer sees."""
        return self.in_channels + self.width * layer
