"""The page: drop in a photo of a food package and see its nutrition tables boxed.

python app.py                                      the embedded checkpoint, on this machine only
python app.py --checkpoint runs/qlora --runs runs  a trained run, with all others to compare
"""

import argparse
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import psutil
import torch
from PIL import Image

from nutrition_vl.checkpoints import discover
from nutrition_vl.detector import NONE, THRESHOLD, Detector
from nutrition_vl.photos import open_photo

EXAMPLES = Path(__file__).parent / "nutrition_vl" / "demo" / "examples"
COLUMNS = ["label", "score", "x0", "y0", "x1", "y1"]
WIDTHS: list[str | int] = ["28%", "16%", "14%", "14%", "14%", "14%"]
LONGEST_SIDE = 1280  # pixels of the picture on the page; boxes are found and given on the photo
LARGEST_UPLOAD = "50mb"  # a JPEG of 50 megapixels takes about 20
WAITING = "Drop in a photo, paste one or take one."
INTRO = """# nutrition-vl
Finds the nutrition tables on photos of food packages, with a 4-bit Qwen2-VL and a LoRA adapter."""
# The reader's own fonts, so that the page works offline; the table's figures fit a phone in them.
FONT = ["system-ui", "sans-serif"]
THEME = gr.themes.Soft(primary_hue="green", font=FONT, font_mono=FONT)
SAVE = """(answer) => {
    if (!answer) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)]));
    link.download = "nutrition-tables.json";
    link.click();
}"""


def draw(photo: Image.Image, boxes: list[dict[str, Any]]) -> tuple[Image.Image, list[Any]]:
    """What gr.AnnotatedImage shows: the photo, small enough to send, and a titled frame a box."""
    small = photo.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    shrink = np.tile(np.divide(small.size, photo.size), 2)
    return small, [(frame(small.size, box["xyxy"] * shrink), title(box)) for box in boxes]


def frame(size: tuple[int, int], xyxy: np.ndarray) -> np.ndarray:
    """The opacity (height, width) of a box: Gradio's own, half opaque, would hide the table."""
    width, height = size
    edge = max(2, max(size) // 160)
    x0, y0, x1, y1 = xyxy.round().astype(int)
    opacity = np.zeros((height, width))
    opacity[y0:y1, x0:x1] = 1
    opacity[y0:y1, x0:x1][edge:-edge, edge:-edge] = 0.12
    return opacity


def title(box: dict[str, Any]) -> str:
    return f"{box['label']} {box['confidence']:.2f}"


def row(box: dict[str, Any]) -> list[Any]:
    return [box["label"], round(box["confidence"], 2), *(round(edge) for edge in box["xyxy"])]


def note(answer: dict[str, Any], adapter: str, device: torch.device) -> str:
    """One line: what was found with which adapter, how long it took and how much memory is used."""
    count = len(answer["boxes"])
    tables = f"{count} table{'s' * (count > 1)}" if count else "No nutrition table"
    time = f"{answer['seconds']:.2f} s on the {'GPU' if device.type == 'cuda' else 'CPU'}"
    return f"**{tables}** found with {named(adapter)} in {time} · {memory(device)}"


def named(adapter: str) -> str:
    return "no adapter" if adapter == NONE else adapter


def memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of GPU memory at most"
    return f"{psutil.Process().memory_info().rss / 2**30:.2f} GiB of memory"


def look(detector: Detector, path: str, adapter: str, threshold: float) -> tuple[Any, ...]:
    """What the page shows of a photo: drawing, rows, line, JSON; gr.Error says what is wrong."""
    try:
        photo = open_photo(path, Path(path).name)
        [answer] = detector.detect([photo], adapter=adapter, threshold=threshold)
    except (OSError, ValueError) as error:
        raise gr.Error(str(error), print_exception=False) from error
    said = answer.record(photo.size)
    line = note(said, adapter, detector.runtime.device)
    return draw(photo, said["boxes"]), [row(box) for box in said["boxes"]], line, said


def build_app(detector: Detector, runs: Path) -> gr.Blocks:
    """The page over one loaded base and the adapters that fit it: its own and those in `runs`."""
    own = next(iter(detector.adapters), NONE)
    adapters = list(dict.fromkeys([own, *discover(runs, detector.base), NONE]))

    def detect(
        photo: dict[str, Any] | None, adapter: str | None, threshold: float
    ) -> tuple[Any, ...]:
        if not photo or not photo["path"]:
            return None, [], WAITING, None
        if adapter not in adapters:
            reason = f"there is no adapter {adapter}: choose {', '.join(adapters)}"
            raise gr.Error(reason, print_exception=False)
        if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise gr.Error(f"{threshold} is not from 0 to 1", print_exception=False)
        return look(detector, photo["path"], adapter, threshold)

    def list_adapters() -> list[str]:
        return adapters

    with gr.Blocks(
        title="nutrition-vl", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.Markdown(INTRO)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                photo = gr.Image(
                    label="Photo", sources=["upload", "clipboard", "webcam"], height=360
                )
                choices = [(named(name), name) for name in adapters]
                adapter = gr.Dropdown(choices, value=own, label="Adapter")
                threshold = gr.Slider(0, 1, THRESHOLD, step=0.05, label="Show boxes this sure")
                button = gr.Button("Find nutrition tables", variant="primary")
                if pictures := sorted(map(str, EXAMPLES.glob("*.jpg"))):
                    gr.Examples(pictures, photo, label="Examples")
            with gr.Column(scale=3, min_width=320):
                shown = gr.AnnotatedImage(label="Nutrition tables", height=520)
                line = gr.Markdown(WAITING)
                table = gr.Dataframe(
                    headers=COLUMNS,
                    column_widths=WIDTHS,
                    wrap=True,
                    label="Boxes in pixels",
                    interactive=False,
                )
                with gr.Accordion("JSON", open=False):
                    answer = gr.JSON(show_label=False)
                save = gr.Button("Download JSON", size="sm")
        gr.on(
            [photo.change, adapter.input, threshold.release, button.click],
            detect,
            [photo, adapter, threshold],
            [shown, table, line, answer],
            api_name="detect",
            preprocess=False,  # `open_photo` alone judges photos; Gradio's own way has other words
            concurrency_limit=1,
        )
        save.click(None, answer, js=SAVE)
        gr.api(list_adapters, api_name="adapters")
    return page


def serve(page: gr.Blocks, **options: Any) -> str:
    """Opens the page (`options` go to Gradio's launch) and returns its address."""
    page.queue(max_size=32, api_open=False)  # or POSTs would pass the queue by
    _, address, _ = page.launch(
        theme=THEME, max_file_size=LARGEST_UPLOAD, ssr_mode=False, footer_links=["api"], **options
    )
    return address


def main(argv: list[str] | None = None) -> None:
    """Loads the checkpoint and opens the page until it is interrupted."""
    args = parser().parse_args(argv)
    try:
        detector = Detector.load(args.checkpoint, device=args.device)
        page = build_app(detector, args.runs)
        serve(page, server_name=args.host, server_port=args.port, share=args.share)
    except (OSError, ValueError) as error:
        raise SystemExit(f"app.py: {error}") from error


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="app.py", description=__doc__.partition("\n")[0])
    options.add_argument("--checkpoint", default="demo", help="demo, a run, a checkpoint or a base")
    options.add_argument("--runs", type=Path, default=Path("runs"), help="where adapters are found")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--port", type=int, default=7860)
    options.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets others in")
    options.add_argument("--share", action="store_true", help="a public link through Gradio")
    return options


if __name__ == "__main__":
    main()
