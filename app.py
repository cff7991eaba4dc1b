"""The web page: find nutrition tables on photos, correct them, evaluate adapters, follow runs.

python app.py                                      the embedded checkpoint, on this machine only
python app.py --checkpoint runs/qlora --runs runs  a trained run, with all others to compare
python app.py --photos photos --data labelled      folders for many photos and for evaluation
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nutrition_vl.cli import guarded, positive

if TYPE_CHECKING:
    import gradio as gr

    from nutrition_vl.detector import Detector

INTRO = "# nutrition-vl\nFinds the nutrition tables on photos of food packages."
OPEN = "anybody who reaches this page may use it: --auth USER:PASSWORD_FILE"


def build_app(
    detector: "Detector",
    runs: Path,
    photos: Path | None = None,
    labels: Path = Path("labels"),
    data: Path | None = None,
) -> "gr.Blocks":
    """The page over one loaded base and the adapters that fit it: its own and those in `runs`."""
    # Here and not above: they take seconds, which --help need not wait for.
    import gradio as gr

    from eval.page import EvaluateTab
    from nutrition_vl.page.correct import CorrectTab
    from nutrition_vl.page.links import link
    from nutrition_vl.page.many import ManyTab
    from nutrition_vl.page.photo import PhotoTab
    from nutrition_vl.page.queue import DetectionQueue
    from nutrition_vl.page.serve import Page
    from nutrition_vl.page.visitor import AdapterChoices
    from training.page import RunsTab

    queue, choices = DetectionQueue(detector), AdapterChoices(detector, runs)
    with Page(title="nutrition-vl", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRO)
        with gr.Tabs() as tabs:
            with gr.Tab("Photo", id="photo"):
                photo = PhotoTab(queue, choices)
            with gr.Tab("Many photos", id="many"):
                many = ManyTab(queue, choices, photos)
            with gr.Tab("Correct", id="correct"):
                correct = CorrectTab(labels)
            with gr.Tab("Evaluate", id="evaluate"):
                evaluate = EvaluateTab(runs, data, choices)
            with gr.Tab("Runs", id="runs"):
                RunsTab(runs)
        link(page, tabs, choices, photo, many, correct)
        evaluate.open_in(photo, tabs)
    return page


def main(argv: list[str] | None = None) -> int:
    """Loads the checkpoint and opens the page until it is interrupted; returns the exit code."""
    args = parser().parse_args(argv)
    return guarded("app.py", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    for folder in (args.runs, args.photos, args.data):
        if folder and not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}: name one that exists")
    from nutrition_vl.page.guard import host_names, keep_uploads_apart, listen, open_to_all, user

    listen(args.host, args.port)
    from nutrition_vl.detector import Detector
    from nutrition_vl.page.serve import serve

    auth = user(args.auth) if args.auth else None
    if not auth and open_to_all(args.host, args.share):
        print(f"app.py: {OPEN}", file=sys.stderr)
    detector = Detector.load(args.checkpoint, device=args.device)
    keep_uploads_apart()
    page = build_app(detector, args.runs or Path("runs"), args.photos, args.labels, args.data)
    hosts = host_names(args.host, args.allowed_host, args.share)
    serve(page, hosts, server_name=args.host, server_port=args.port, share=args.share, auth=auth)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="app.py", description=__doc__.partition("\n")[0])
    options.add_argument("--checkpoint", default="demo", help="demo, a run, a checkpoint or a base")
    options.add_argument("--runs", type=Path, help="the folder of adapters (default runs)")
    options.add_argument("--photos", type=Path, help="a folder whose folders Many photos offers")
    options.add_argument(
        "--labels",
        type=Path,
        default=Path("labels"),
        help="where corrected boxes are saved (default labels)",
    )
    options.add_argument("--data", type=Path, help="a folder of labelled sources to evaluate on")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--port", type=positive, default=7860, help="default 7860")
    options.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets others in")
    options.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name of this machine in addresses; repeat for more",
    )
    options.add_argument("--auth", metavar="USER:PASSWORD_FILE", help="asks visitors to log in")
    options.add_argument("--share", action="store_true", help="a public link through Gradio")
    return options


if __name__ == "__main__":
    sys.exit(main())
