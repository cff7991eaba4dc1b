"""The prompt shows the very text the model is trained on, and stays what adapters learned."""

from nutrition_vl.boxes import EXAMPLE, from_text
from nutrition_vl.prompts import SYSTEM, USER, answer, ask, fingerprint


def test_the_prompt_shows_the_format_once():
    assert (SYSTEM + USER).count(EXAMPLE) == 1
    assert len(from_text(USER, (1000, 1000)).detections) == 1


def test_the_prompt_is_short():
    assert len(f"{SYSTEM} {USER}".split()) <= 45  # every word costs the small model tokens


def test_one_photo_is_asked_about_and_its_place_comes_first():
    system, user = ask()
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"] == [{"type": "text", "text": SYSTEM}]
    assert user["content"] == [{"type": "image"}, {"type": "text", "text": USER}]


def test_an_answer_is_one_assistant_turn():
    content = [{"type": "text", "text": EXAMPLE}]
    assert answer(EXAMPLE) == [{"role": "assistant", "content": content}]


def test_the_fingerprint_is_pinned():
    # Adapters trained with other words refuse to load: change this only together with the demo.
    assert fingerprint() == "5f5823f8faca"
