"""Draw the figure of docs/coordinates.md.

python docs/figures/coordinates.py --out docs/coordinates.png
"""

import argparse

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

STRIDE = 8  # pixels, side of a cell
WIDTH, HEIGHT = 20, 12  # of the image in the figure; not multiples of 8
CELL, INSIDE = (1, 0), (0.6, 0.3)  # column and row of a cell, and a position in it
POINT, EDGE, CELL_EDGE, PADDING = "#d62728", "#bbbbbb", "#1f3b73", "#e8e8e8"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    figure = Figure(figsize=(9, 8.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3.1, 1))
    draw_grid(above)
    draw_resize(below)
    figure.savefig(options.out, dpi=100)


def draw_grid(axes):
    """Draw pixels, cells, padding and one keypoint."""
    padded_width, padded_height = (
        -(-side // STRIDE) * STRIDE for side in (WIDTH, HEIGHT)
    )
    for y in range(padded_height):
        for x in range(padded_width):
            inside = x < WIDTH and y < HEIGHT
            draw_pixel(axes, x, y, "white" if inside else PADDING)
            axes.plot(x, y, ".", color="#888888" if inside else "#cccccc", ms=3)
    for column in range(padded_width // STRIDE):
        for row in range(padded_height // STRIDE):
            corner = (STRIDE * column - 0.5, STRIDE * row - 0.5)
            axes.add_patch(
                Rectangle(corner, STRIDE, STRIDE, fill=False, ec=CELL_EDGE, lw=2)
            )
            axes.text(
                corner[0] + 0.3,
                corner[1] + STRIDE - 0.3,
                f"cell {row, column}",
                color=CELL_EDGE,
                va="bottom",
            )
    axes.plot(0, 0, "o", color="black", ms=6)
    note(axes, "(0, 0) is the center\nof this pixel", (0, 0), (1.2, 2.4), "black")
    x, y = (STRIDE * (c + p) - 0.5 for c, p in zip(CELL, INSIDE, strict=True))
    axes.plot(x, y, "x", color=POINT, ms=9, mew=2.5)
    text = f"keypoint at p = {INSIDE} of its cell:\nx = 8 (1 + 0.6) - 0.5 = {x:.1f}"
    note(axes, f"{text}\ny = 8 (0 + 0.3) - 0.5 = {y:.1f}", (x, y), (8.2, 4.0), POINT)
    axes.text(3.5, 13.5, "padding: repeated pixels,\nnever a keypoint", ha="center")
    axes.set_title(
        "A 20x12 image: pixels, their centers (dots) and 8x8 cells.\n"
        "Cell c covers x from 8c - 0.5 to 8c + 7.5; padding goes right and bottom."
    )
    axes.set_xlim(-0.7, padded_width - 0.3)
    axes.set_ylim(padded_height - 0.3, -0.7)
    axes.set_xticks([-0.5, 7.5, 15.5, 19.5, 23.5])
    axes.set_yticks([-0.5, 7.5, 11.5, 15.5])
    axes.xaxis.tick_top()
    finish(axes)


def draw_resize(axes):
    """Draw a row of 8 pixels above the 4 pixels of the image at half its size."""
    for x in range(8):
        draw_pixel(axes, x, 0, "white")
        axes.plot(x, 0, ".", color="#888888")
        axes.text(x, -0.75, f"{x}", ha="center", va="center")
    for small in range(4):
        x = (small + 0.5) / 0.5 - 0.5
        axes.add_patch(Rectangle((x - 1, 1.5), 2, 1, fc="white", ec=EDGE))
        axes.plot(x, 2, ".", color="#888888")
        axes.text(x, 2.85, f"{small}", ha="center", va="center")
    x = (1 + 0.5) / 0.5 - 0.5
    axes.plot([x, x], [2, 0], "o-", color=POINT, ms=5)
    axes.text(x + 0.1, 1.0, "x' = 1 is x = 2.5, not 2", color=POINT, va="center")
    axes.text(8, 0, "x, in your image", va="center")
    axes.text(8, 2, "x', in the image shrunk by s = 0.5", va="center")
    axes.set_title("max_size shrinks; keypoints come back as x = (x' + 0.5) / s - 0.5")
    axes.set_xlim(-0.7, 13)
    axes.set_ylim(3.3, -1.2)
    axes.set_xticks([])
    axes.set_yticks([])
    finish(axes)


def draw_pixel(axes, x, y, color):
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=color, ec=EDGE, lw=0.6))


def note(axes, text, point, place, color):
    box = {"fc": "white", "ec": color, "boxstyle": "round"}
    arrow = {"arrowstyle": "-", "color": color}
    axes.annotate(text, point, place, color=color, bbox=box, arrowprops=arrow, va="top")


def finish(axes):
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    main()
