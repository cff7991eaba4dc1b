"""Arranges blocks of type: next to each other, below each other, on their paper."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from training.render.layout.sheets import Line, Pen, block


def side_by_side(images: Sequence[Image.Image], pen: Pen, rule: bool = False) -> Image.Image:
    """Blocks next to each other, hung from one line, with a rule between them if wanted."""
    gap = round(pen.size * 0.6)
    size = (sum(i.width + gap for i in images) - gap, max(i.height for i in images))
    out, x = Image.new("RGBA", size, (*pen.ink, 0)), 0
    for image in images:
        if rule and x:
            box = (x - gap // 2, 0, x - gap // 2 + pen.hairline - 1, size[1])
            ImageDraw.Draw(out).rectangle(box, fill=pen.ink)
        out.paste(image, (x, 0))
        x += image.width + gap
    return out


def stacked(images: Sequence[Image.Image], pen: Pen) -> Image.Image:
    """Blocks below each other, flush left."""
    size = (max(i.width for i in images), sum(i.height for i in images))
    out, y = Image.new("RGBA", size, (*pen.ink, 0)), 0
    for image in images:
        out.paste(image, (0, y))
        y += image.height
    return out


def note(text: str, pen: Pen, width: float, scale: float = 0.72) -> Image.Image:
    """A footnote in small type."""
    return block([Line((text,), scale=scale)], pen, width)


def boxed(image: Image.Image, pen: Pen) -> Image.Image:
    """The block with a line round it."""
    corner = (image.width - 1, image.height - 1)
    ImageDraw.Draw(image).rectangle((0, 0, *corner), outline=pen.ink, width=pen.hairline)
    return image


def framed(image: Image.Image, pen: Pen) -> Image.Image:
    """The block on its paper with padding and frame: its outline is the hull of the panel."""
    pad = pen.frame + round(pen.size * (0.35 if pen.frame or pen.paper else 0.05))
    size = (image.width + 2 * pad, image.height + 2 * pad)
    ground = (*pen.ink, 0) if pen.paper is None else (*pen.paper, 255)
    out = Image.new("RGBA", size, (*pen.ink, 0))
    box = (0, 0, size[0] - 1, size[1] - 1)
    outline = pen.ink if pen.frame else None
    ImageDraw.Draw(out).rounded_rectangle(box, pen.radius, ground, outline, pen.frame)
    out.alpha_composite(image, (pad, pad))
    return out
