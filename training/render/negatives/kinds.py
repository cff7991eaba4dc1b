"""All kinds of negatives by name, and how often each is drawn."""

from collections.abc import Callable

from PIL import Image

from training.render.layout.dice import Rng, weighted
from training.render.layout.words import LANGUAGES
from training.render.negatives import codes, documents, printing, shelves, tags
from training.render.package import forms
from training.render.package.blocks import Look

Draw = Callable[[Rng, int], Image.Image]
PLAIN = Look((250, 250, 248), (15, 15, 15), LANGUAGES["en"], 9.0)


def _form(block: Callable[[Rng, Image.Image, Look], None]) -> Draw:
    """A block of `forms` on a slip of its own."""

    def draw(rng: Rng, size: int) -> Image.Image:
        short = round(size * float(rng.uniform(0.4, 0.9)))
        wide = (short, size) if rng.random() < 0.6 else (size, short)
        image = Image.new("RGB", wide, PLAIN.ground)
        block(rng, image, PLAIN)
        return image

    return draw


KINDS: dict[str, tuple[Draw, float]] = {
    "electronic_tag": (tags.electronic, 5),
    "price_tag": (tags.printed, 3),
    "rail": (tags.rail, 3),
    "energy_label": (tags.energy, 2),
    "barcode": (codes.barcode, 2),
    "square_code": (codes.square, 1),
    "asset_label": (codes.asset, 2),
    "timetable": (documents.timetable, 3),
    "menu": (documents.menu, 2),
    "invoice": (documents.invoice, 4),
    "spreadsheet": (documents.spreadsheet, 3),
    "data_sheet": (documents.data_sheet, 4),
    "form": (documents.form, 1),
    "ticket": (documents.ticket, 1),
    "calendar": (documents.calendar, 1),
    "book_page": (printing.page, 4),
    "newspaper": (printing.newspaper, 2),
    "book_cover": (printing.cover, 3),
    "leaflet": (printing.leaflet, 2),
    "sign": (printing.sign, 3),
    "shelf": (shelves.shelf, 5),
    "receipt": (_form(forms.receipt), 3),
    "parcel": (_form(forms.parcel), 1),
}


def negative(rng: Rng, size: int, kind: str | None = None) -> Image.Image:
    """One negative, RGB, its long side `size`; of a kind drawn by weight, or of the one named."""
    draw = KINDS[kind][0] if kind else weighted(rng, tuple(KINDS.values()))
    return draw(rng, size).convert("RGB")
