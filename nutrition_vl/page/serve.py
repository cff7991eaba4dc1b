"""Opens a page: theme, style, limits and the guard in front."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.exceptions import ComponentProcessingError
from gradio.themes import Soft
from starlette.middleware import Middleware

from nutrition_vl.page.guard import UNREADABLE, Guard, sentence

LARGEST_UPLOAD = "50mb"  # a JPEG of 50 megapixels takes about 20
# The reader's own fonts, so that the page works offline; the table's figures fit a phone in them.
FONT = ["system-ui", "sans-serif"]
CSS = Path(__file__).parent / "page.css"
JS = Path(__file__).parent / "page.js"
# Soft's own greens and greys are too faint to read: WCAG asks for a contrast of 4.5.
COLOURS = {
    "block_label_text_color": "*primary_800",
    "block_title_text_color": "*primary_800",
    "block_label_background_fill_dark": "*primary_800",
    "block_title_background_fill_dark": "*primary_800",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_hover_dark": "*primary_800",
    "checkbox_label_background_fill_selected": "*primary_700",
    "checkbox_label_background_fill_selected_dark": "*primary_700",
    "input_placeholder_color": "*neutral_600",
    "input_placeholder_color_dark": "*neutral_300",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "link_text_color": "*primary_800",
}


# Of values that Gradio cannot read.
UNREAD = (gr.Error, ComponentProcessingError, ValueError, TypeError, KeyError, AttributeError)


class Page(gr.Blocks):
    """Blocks whose errors are one sentence, with no traceback in the log."""

    async def preprocess_data(self, *args: Any, **options: Any) -> list[Any]:
        """The values of a call as its function takes them; gr.Error for others."""
        try:
            return await super().preprocess_data(*args, **options)
        except UNREAD as error:
            plain = isinstance(error, gr.Error)
            text = sentence(error) if plain else UNREADABLE
            raise gr.Error(text, print_exception=False) from error

    async def call_function(self, *args: Any, **options: Any) -> Any:
        """The outputs of a function; gr.Error with the sentence of a visitor's mistake."""
        try:
            return await super().call_function(*args, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise gr.Error(sentence(error), print_exception=False) from error


def serve(page: gr.Blocks, hosts: tuple[str, ...] = (), **options: Any) -> str:
    """Opens the page (`options` go to Gradio's launch) and returns its address."""
    page.queue(max_size=64, api_open=False)  # or POSTs would pass the queue by
    theme = Soft(primary_hue="green", font=FONT, font_mono=FONT).set(**COLOURS)
    guard = {"middleware": [Middleware(Guard, hosts=hosts)]}
    style = dict(theme=theme, css_paths=CSS, head=f"<script>{JS.read_text()}</script>")
    _, address, _ = page.launch(
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        footer_links=["api"],
        app_kwargs=guard,
        **style,
        **options,
    )
    return address
