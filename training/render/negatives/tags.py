"""Price tags: electronic and paper ones, rails full of them, energy labels."""

from dataclasses import replace

from PIL import Image, ImageDraw

from training.render.layout.colours import BLACK, RGB, WHITE, mixed, near, pack_colour, vivid
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.fonts import typefaces
from training.render.layout.sheets import Line, block
from training.render.negatives import codes, paper

SCREENS: tuple[RGB, ...] = ((205, 208, 205), (180, 184, 180), (150, 156, 152), (225, 226, 222),
                            (120, 126, 122), (90, 95, 92), (240, 240, 238))  # fmt: skip
STOCK: tuple[RGB, ...] = (WHITE, WHITE, (255, 230, 60), (250, 205, 30), (250, 120, 40),
                          (215, 30, 35), (235, 235, 230))  # fmt: skip
UNITS = ("kg", "l", "stk", "100 g", "pcs", "m", "ea", "lb", "個", "개")
CLASSES = ((0, 150, 70), (80, 180, 70), (190, 215, 50), (255, 240, 0), (250, 185, 0),
           (240, 115, 30), (225, 30, 40))  # fmt: skip


def electronic(rng: Rng, size: int) -> Image.Image:
    """An electronic shelf label: a grey screen in a bezel, small type and one large price."""
    ground = near(rng, pick(rng, SCREENS), 6)
    screen = paper.sheet(rng, size, 1.3, 3.2, ground)
    _printed(rng, screen, dark=(35, 38, 40))
    if chance(rng, 0.2):
        _flag(rng, screen)
    return _bezel(rng, screen)


def printed(rng: Rng, size: int) -> Image.Image:
    """A paper tag on a shelf: white, yellow or red."""
    image = paper.sheet(rng, size, 0.7, 3.0, near(rng, pick(rng, STOCK), 5))
    dark = WHITE if sum(paper.ground_of(image)) < 330 else BLACK
    _printed(rng, image, dark)
    if chance(rng, 0.3):
        _flag(rng, image)
    return image


def rail(rng: Rng, size: int) -> Image.Image:
    """A shelf's edge with several tags on it."""
    image = paper.sheet(rng, size, 2.0, 4.5, pack_colour(rng))
    x, make = 4, pick(rng, (electronic, printed))
    while x < image.width - 20:
        tag = make(rng, int(image.height * rng.uniform(0.7, 1.3)))
        tag.thumbnail((image.width, int(image.height * rng.uniform(0.6, 0.95))))
        image.paste(tag, (x, (image.height - tag.height) // 2))
        x += tag.width + int(rng.integers(2, max(3, image.width // 4)))
    return image


def energy(rng: Rng, size: int) -> Image.Image:
    """The energy label of a lamp, a fridge or a washing machine."""
    image = paper.sheet(rng, size, 0.45, 0.75, WHITE)
    draw, (w, h) = ImageDraw.Draw(image), image.size
    band = int(h * 0.12)
    draw.rectangle((0, 0, w, band), (0, 75, 150))
    font = typefaces("latin")[0].font(band * 0.5, bold=True)
    draw.text((w * 0.06, band / 2), pick(rng, ("ENERG", "ENERGY")), WHITE, font, anchor="lm")
    letters = pick(rng, ("A B C D E F G", "A+++ A++ A+ A B C D")).split()
    step, chosen = h * 0.42 / 7, int(rng.integers(7))
    font = typefaces("latin")[0].font(step * 0.7, bold=True)
    for i, letter in enumerate(letters):
        y, reach = band * 1.5 + i * step, w * (0.3 + 0.05 * i)
        shape = [(w * 0.05, y), (reach, y), (reach + step / 2, y + step * 0.42),
                 (reach, y + step * 0.84), (w * 0.05, y + step * 0.84)]  # fmt: skip
        draw.polygon(shape, CLASSES[i])
        draw.text((w * 0.08, y + step * 0.42), letter, WHITE, font, anchor="lm")
        if i == chosen:
            draw.polygon([(w * 0.95, y), (w * 0.75, y), (w * 0.7, y + step / 2),
                          (w * 0.75, y + step), (w * 0.95, y + step)], BLACK)  # fmt: skip
            draw.text((w * 0.84, y + step / 2), letter, WHITE, font, anchor="mm")
    _consumption(rng, image, int(band * 1.5 + 7 * step))
    draw.rectangle((0, 0, w - 1, h - 1), outline=(0, 75, 150), width=3)
    return image


def _consumption(rng: Rng, image: Image.Image, top: int) -> None:
    """The machine's consumption: large numbers and their units between rules."""
    pen = paper.pen(rng, WHITE, image.width * float(rng.uniform(0.05, 0.09)))
    units = ("kWh/annum", "L", "dB", "kg", "kWh/1000h", "cm", "min", "L/cycle")
    rows = [
        Line((paper.number(rng), pick(rng, units)), True, float(rng.uniform(0.8, 2)), rule=0.02)
        for _ in range(int(rng.integers(2, 5)))
    ]
    part = block(rows, pen, image.width * 0.9)
    part = part.crop((0, 0, part.width, max(1, image.height - top - 4)))
    image.paste(part, (image.width // 20, top), part)


def _printed(rng: Rng, image: Image.Image, dark: RGB) -> None:
    """A name, details, a bar code and a large price whose cents stand higher."""
    words, (w, h) = paper.language(rng, 0.85), image.size
    pen = paper.pen(rng, paper.ground_of(image), h * float(rng.uniform(0.07, 0.12)), words)
    pen = replace(pen, ink=dark, grid=False)
    lines = [Line((paper.phrase(rng, words, 1, 4).upper(),), True, float(rng.uniform(1, 2)))]
    if chance(rng, 0.7):
        lines.append(Line((paper.phrase(rng, words, 1, 3),)))
    unit = pick(rng, UNITS)
    price, article, weight = (paper.number(rng, *form) for form in ((2, 400), (0, 10**7), ()))
    place = f"{int(rng.integers(1, 99))}-{int(rng.integers(100, 999))}"
    details = [f"{price} /{unit}", article, f"{weight} {unit}", place]
    lines += [Line((text,), scale=0.8) for text in details if chance(rng, 0.5)]
    if chance(rng, 0.2):
        pairs = zip(lines, details, strict=False)
        lines = [Line((a.cells[0], d), rule=pick(rng, (0, 0.02))) for a, d in pairs]
    paper.printed(image, [block(lines, pen, w * 0.96)], (int(w * 0.02), int(h * 0.03)))
    if chance(rng, 0.6):
        code = codes.bars(rng, int(w * rng.uniform(0.25, 0.5)), int(h * rng.uniform(0.15, 0.35)))
        image.paste(code, (int(w * pick(rng, (0.03, 0.03, 0.5))), int(h * 0.96) - code.height))
    _price(rng, image, dark)


def _price(rng: Rng, image: Image.Image, ink: RGB) -> None:
    draw, (w, h) = ImageDraw.Draw(image), image.size
    size = h * float(rng.uniform(0.25, 0.55))
    face, cents = pick(rng, typefaces("latin")), pick(rng, ("90", "99", "00", "49", "95", "-"))
    whole = str(int(rng.integers(1, pick(rng, (10, 100, 1000)))))
    x, y = w * float(rng.uniform(0.85, 0.93)), h * float(rng.uniform(0.88, 0.97))
    colour = pick(rng, (ink, ink, ink, (200, 20, 25)))
    draw.text((x, y), whole, colour, face.font(size, True), anchor="rs")
    top = y - size * 0.35 if chance(rng, 0.8) else y
    draw.text((x, top), cents, colour, face.font(size * 0.5, True), anchor="ls")
    if chance(rng, 0.3):
        sign = pick(rng, ("kr", "€", "$", "£", "RM", "¥", "₩"))
        draw.text((x, y), sign, colour, face.font(size * 0.25), anchor="ls")


def _flag(rng: Rng, image: Image.Image) -> None:
    """A coloured part: an offer."""
    w, h = image.size
    box = pick(rng, ((w // 2, 0, w, h), (0, 0, w, h // 4), (w * 2 // 3, h // 2, w, h)))
    tone = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), vivid(rng))
    image.paste(Image.blend(image.crop(box), tone, 0.5), box[:2])


def _bezel(rng: Rng, screen: Image.Image) -> Image.Image:
    frame = pick(rng, ((235, 236, 236), (200, 202, 204), (40, 42, 45), (250, 250, 250)))
    pad = int(screen.height * rng.uniform(0.03, 0.16))
    image = Image.new("RGB", (screen.width + 2 * pad, screen.height + 2 * pad), near(rng, frame, 5))
    edge = mixed(frame, BLACK, 0.4)
    image.paste(screen, (pad, pad))
    draw = ImageDraw.Draw(image)
    draw.rectangle((pad, pad, pad + screen.width, pad + screen.height), outline=edge, width=1)
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=edge, width=2)
    image.thumbnail((max(screen.size), max(screen.size)))
    return image
