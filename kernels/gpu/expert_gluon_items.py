"""What specialized warps compute for experts, and when: parts of expert_linear_gluon.py.

An item is a tile of pairs times a tile of rows. Tiles differ in length, so programs take the next
item of all when they have room for it: the loader asks the counter, and posts the answer for its
program's consumers.

    counter --next item--> loader --board--> consumers
    board:     | 3 | 135 | 268 | ... |     an item, or a number behind the last one
"""

from dataclasses import dataclass

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from legato.kernels.activation_kind import ClampedGate
from legato.kernels.gpu.prefill_gluon_loader import arrive, make_barriers, wait_for

# Rows and inputs that are copied at once; an item has four such parts of rows.
_PART_SIZE = 64
PART = gl.constexpr(_PART_SIZE)
NUM_PARTS = gl.constexpr(4)
_GROUP_TILES = gl.constexpr(8)  # of pairs are computed before the next rows of weights
# The loader is never so many items ahead, even if each has one step.
_BOARD_SIZE = gl.constexpr(8)


@dataclass(frozen=True, slots=True)
class GluonProduct:
    """What the kernel is compiled for.

    Attributes:
        num_rows, num_inputs: of an expert's weight
        is_gated: this is a layer's first product
        top_k: pairs of a token
        clamped: gates like this instead of by silu
    """

    num_rows: int
    num_inputs: int
    is_gated: bool
    top_k: int
    clamped: ClampedGate | None = None

    @property
    def num_outputs(self) -> int:
        return self.num_rows // 2 if self.is_gated else self.num_rows

    @property
    def outputs_of_tile(self) -> int:
        return (2 if self.is_gated else 4) * _PART_SIZE

    @property
    def num_row_tiles(self) -> int:
        return -(-self.num_outputs // self.outputs_of_tile)

    def first_row(self, part: int) -> int:
        """Of a part, counted from the tile's first row."""
        if self.is_gated:
            return part // 2 * _PART_SIZE + part % 2 * self.num_outputs
        return part * _PART_SIZE


@gluon.jit
def locate(tiles, item, PRODUCT: gl.constexpr):
    """An item's expert, tile of rows, first pair, and number of pairs.

    Args:
        tiles: the list, [most tiles, 4], and how many there are
    """
    tile_ptr, num_tiles = tiles
    items_of_group: gl.constexpr = _GROUP_TILES * PRODUCT.num_row_tiles
    first = item // items_of_group * _GROUP_TILES
    size = gl.minimum(num_tiles - first, _GROUP_TILES)
    index = item % items_of_group
    tile_ptr += (first + index % size) * 4
    start = gl.load(tile_ptr + 1)
    return gl.load(tile_ptr), index // size, start, gl.load(tile_ptr + 2) - start


@gluon.jit
def make_board():
    plain: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    places = gl.allocate_shared_memory(gl.int32, [_BOARD_SIZE, 1], plain)
    return places, make_barriers(_BOARD_SIZE, 1)


@gluon.constexpr_function
def _single_layout():
    """Of a tensor with one element, which all threads have."""
    return gl.BlockedLayout([1], [32], [4], [0])


@gluon.jit
def post(board, index, item):
    """Tells the consumers which item is computed as the program's index-th."""
    places, posted = board
    place = places.index(index % _BOARD_SIZE)
    place.store(gl.full([1], item, gl.int32, _single_layout()))
    arrive(posted, index)


@gluon.jit
def read(board, index):
    """The program's index-th item, once it is posted."""
    places, posted = board
    wait_for(posted, index, 0)
    return gl.max(places.index(index % _BOARD_SIZE).load(_single_layout()), 0)


@gluon.jit
def take(counter, num_items):
    """The next item of all programs; whoever asks last leaves the counter at zero."""
    taken = gl.atomic_add(counter, 1)
    if taken == num_items - 1:
        gl.store(counter, 0)
    return gl.num_programs(0) + taken
