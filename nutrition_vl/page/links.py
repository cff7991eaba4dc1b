"""Events between tabs: a photo of one tab opens in another; adapters appear without a restart."""

from typing import Any

import gradio as gr

from nutrition_vl.page.correct import CorrectTab
from nutrition_vl.page.job import Job
from nutrition_vl.page.many import ManyTab
from nutrition_vl.page.photo import PhotoTab
from nutrition_vl.page.visitor import AdapterChoices, Visit


def link(
    page: gr.Blocks,
    tabs: gr.Tabs,
    choices: AdapterChoices,
    photo: PhotoTab,
    many: ManyTab,
    correct: CorrectTab,
) -> None:
    """Connects the tabs of a page."""
    quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
    editor = [correct.editor, correct.draft, correct.line]

    def refresh() -> tuple[Any, Any]:
        return gr.Dropdown(choices.titles()), gr.Dropdown(choices.titles())

    def to_photo(job: Job, name: str) -> tuple[Any, Any]:
        if name not in job.photos:
            raise ValueError("click a picture first")
        return str(job.photos[name]), gr.Tabs(selected="photo")

    def to_editor(job: Job, name: str, threshold: float) -> tuple[Any, ...]:
        if name not in job.photos:
            raise ValueError("click a picture first")
        [record] = [one for one in job.records(threshold) if one["photo"] == name]
        value = correct.open(str(job.photos[name]), record.get("boxes", []))
        return *value, gr.Tabs(selected="correct")

    def photo_to_editor(visit: Visit, threshold: float) -> tuple[Any, ...]:
        state = visit.photo
        if not state.is_answered():
            raise ValueError("find the tables of a photo first")
        if state.truth:
            value = correct.open_labelled(state.path, state.truth)
        else:
            answer = next(iter(state.records(threshold).values()))
            value = correct.open(state.path, answer["boxes"])
        return *value, gr.Tabs(selected="correct")

    # A photo opens at the top of its tab.
    tabs.change(None, None, None, js="() => window.scrollTo(0, 0)", api_visibility="private")
    page.load(refresh, None, [photo.adapters, many.adapters], **quiet)
    gr.on(
        [photo.adapters.focus, many.adapters.focus],
        refresh,
        None,
        [photo.adapters, many.adapters],
        **quiet,
    )
    many.open_photo.click(to_photo, [many.job, many.selected], [photo.photo, tabs], **quiet)
    many.open_editor.click(
        to_editor, [many.job, many.selected, many.threshold], [*editor, tabs], **quiet
    )
    photo.correct.click(photo_to_editor, [photo.visit, photo.threshold], [*editor, tabs], **quiet)
    correct.next.click(correct.next_of, [many.job, many.threshold], editor, **quiet)
