"""Networks that see whole images, for all that looks at the maps of their convolutions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.imaging import resized_shape, scale_factor
from pipeline.nets.weights import ShapedNetwork


@dataclass(frozen=True)
class WholeImages:
    """A network and the sizes at which it sees an image.

    Attributes:
        network: its convolutions make the maps.
        sizes: gives, of an image's width and height, height and width as the network sees it, at each of its scales.
    """

    network: ShapedNetwork
    sizes: Callable[[int, int], list[tuple[int, int]]]

    @classmethod
    def resized(cls, network: ShapedNetwork, short_sides: Sequence[int], long_side: int) -> "WholeImages":
        """Return a network that sees images with these short sides, none longer than ``long_side``."""

        def sizes(width: int, height: int) -> list[tuple[int, int]]:
            factors = (scale_factor(width, height, short, long_side) for short in short_sides)
            return [resized_shape(width, height, factor) for factor in factors]

        return cls(network, sizes)

    @classmethod
    def stretched(cls, network: ShapedNetwork, sides: Sequence[int]) -> "WholeImages":
        """Return a network that sees images stretched to squares of these sides."""
        return cls(network, lambda width, height: [(side, side) for side in sides])
