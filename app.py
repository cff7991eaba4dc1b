"""The page: drop in a photo of a food package and see its nutrition tables boxed.

python app.py                                      the embedded checkpoint, on this machine only
python app.py --checkpoint runs/qlora --runs runs  a trained run, with all others to compare
"""

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from PIL import Image

from nutrition_vl.cli import guarded, positive
from nutrition_vl.data.photos import open_photo

if TYPE_CHECKING:
    import gradio as gr
    import torch

    from nutrition_vl.detector import Detector

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
    titles = [f"{box['label']} {box['confidence']:.2f}" for box in boxes]
    frames = [frame(small.size, box["xyxy"] * shrink) for box in boxes]
    return small, list(zip(frames, titles, strict=True))


def frame(size: tuple[int, int], xyxy: np.ndarray) -> np.ndarray:
    """The opacity (height, width) of a box: Gradio's own, half opaque, would hide the table."""
    width, height = size
    edge = max(2, max(size) // 160)
    x0, y0, x1, y1 = xyxy.round().astype(int)
    opacity = np.zeros((height, width))
    opacity[y0:y1, x0:x1] = 1
    opacity[y0:y1, x0:x1][edge:-edge, edge:-edge] = 0.12
    return opacity


def row(box: dict[str, Any]) -> list[Any]:
    return [box["label"], round(box["confidence"], 2), *(round(edge) for edge in box["xyxy"])]


def note(answer: dict[str, Any], adapter: str, device: "torch.device") -> str:
    """One line: what was found with which adapter, how long it took and how much memory is used."""
    count = len(answer["boxes"])
    tables = f"{count} table{'s' * (count > 1)}" if count else "No nutrition table"
    time = f"{answer['seconds']:.2f} s on the {'GPU' if device.type == 'cuda' else 'CPU'}"
    return f"**{tables}** found with {named(adapter)} in {time} · {memory(device)}"


def named(adapter: str) -> str:
    from nutrition_vl.detector import NONE

    return "no adapter" if adapter == NONE else adapter


def memory(device: "torch.device") -> str:
    if device.type == "cuda":
        import torch

        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of GPU memory at most"
    return f"{psutil.Process().memory_info().rss / 2**30:.2f} GiB of memory"


class Desk:
    """Takes photos from people and from programs to one detector with these adapters."""

    def __init__(self, detector: "Detector", adapters: list[str]) -> None:
        self.detector, self.adapters = detector, adapters

    def show(self, *asked: Any) -> tuple[Any, ...]:
        """For people: what is wrong is on the page, and no answer to what was there before."""
        try:
            return self._answer(*asked)
        except (OSError, ValueError) as error:
            return None, [], f"⚠️ {error}", None

    def detect(
        self, photo: dict[str, Any] | None, adapter: str | None, threshold: float
    ) -> tuple[Any, ...]:
        """For programs: what is wrong is an error."""
        from gradio import Error

        try:
            return self._answer(photo, adapter, threshold)
        except (OSError, ValueError) as error:
            raise Error(str(error), print_exception=False) from error

    def _answer(self, photo: Any, adapter: Any, threshold: Any) -> tuple[Any, ...]:
        """Drawing, rows, line and JSON."""
        if not photo or not photo["path"]:
            return None, [], WAITING, None
        if adapter not in self.adapters:
            raise ValueError(f"there is no adapter {adapter}: choose {', '.join(self.adapters)}")
        if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise ValueError(f"{threshold} is not from 0 to 1")
        picture = open_photo(uploaded(photo["path"]), Path(photo["path"]).name)
        [answer] = self.detector.detect([picture], adapter=adapter, threshold=threshold)
        said = answer.record(picture.size)
        line = note(said, adapter, self.detector.runtime.device)
        return draw(picture, said["boxes"]), [row(box) for box in said["boxes"]], line, said


def uploaded(path: str) -> str:
    """The path, unless it leads to another file of this machine: Gradio itself looks only where
    `meta` says that there is a file."""
    from gradio.utils import get_upload_folder, is_in_or_equal

    if not is_in_or_equal(path, get_upload_folder()):
        raise ValueError(f"{path} was not uploaded: upload the photo first")
    return path


def build_app(detector: "Detector", runs: Path) -> "gr.Blocks":
    """The page over one loaded base and the adapters that fit it: its own and those in `runs`."""
    # Here and not above, as elsewhere: they take seconds, which --help need not wait for.
    import gradio as gr

    from nutrition_vl.detector import NONE, THRESHOLD
    from nutrition_vl.models.checkpoints import discover

    own = next(iter(detector.adapters), NONE)
    desk = Desk(detector, list(dict.fromkeys([own, *discover(runs, detector.base), NONE])))

    def list_adapters() -> list[str]:
        return desk.adapters

    with gr.Blocks(
        title="nutrition-vl", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.Markdown(INTRO)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                photo = gr.Image(
                    label="Photo", sources=["upload", "clipboard", "webcam"], height=360
                )
                choices = [(named(name), name) for name in desk.adapters]
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
                    label="Boxes in pixels",
                    wrap=True,
                    interactive=False,
                )
                with gr.Accordion("JSON", open=False):
                    answer = gr.JSON(show_label=False)
                save = gr.Button("Download JSON", size="sm")
        # `open_photo` alone judges photos, as Gradio has other words; one at a time.
        way: dict[str, Any] = dict(preprocess=False, concurrency_limit=1, concurrency_id="desk")
        ends = [photo, adapter, threshold], [shown, table, line, answer]
        changes = [photo.change, adapter.input, threshold.release, button.click]
        gr.on(changes, desk.show, *ends, api_visibility="private", **way)
        gr.Button(visible=False).click(desk.detect, *ends, api_name="detect", **way)
        save.click(None, answer, js=SAVE)
        gr.api(list_adapters, api_name="adapters")
    return page


def serve(page: "gr.Blocks", **options: Any) -> str:
    """Opens the page (`options` go to Gradio's launch) and returns its address."""
    from gradio.themes import Soft

    page.queue(max_size=32, api_open=False)  # or POSTs would pass the queue by
    options["theme"] = Soft(primary_hue="green", font=FONT, font_mono=FONT)
    _, address, _ = page.launch(
        max_file_size=LARGEST_UPLOAD, ssr_mode=False, footer_links=["api"], **options
    )
    return address


def main(argv: list[str] | None = None) -> int:
    """Loads the checkpoint and opens the page until it is interrupted; returns the exit code."""
    args = parser().parse_args(argv)
    return guarded("app.py", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.runs and not args.runs.is_dir():
        raise FileNotFoundError(f"there is no folder {args.runs}: name one of runs")
    listen(args.host, args.port)
    from nutrition_vl.detector import Detector

    detector = Detector.load(args.checkpoint, device=args.device)
    page = build_app(detector, args.runs or Path("runs"))
    serve(page, server_name=args.host, server_port=args.port, share=args.share)
    return 0


def listen(host: str, port: int) -> None:
    """Tries it, before a model is loaded; ValueError says why not, which Gradio would not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
            probe.listen()
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error}") from error


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="app.py", description=__doc__.partition("\n")[0])
    options.add_argument("--checkpoint", default="demo", help="demo, a run, a checkpoint or a base")
    options.add_argument("--runs", type=Path, help="where adapters are found (default runs)")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--port", type=positive, default=7860, help="default 7860")
    options.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets others in")
    options.add_argument("--share", action="store_true", help="a public link through Gradio")
    return options


if __name__ == "__main__":
    sys.exit(main())
