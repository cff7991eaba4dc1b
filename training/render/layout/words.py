"""The words that packs carry: nutrition vocabularies, ingredients, slogans.  Data only."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Language:
    """One language's declaration: `names` in the order energy, fat, saturates, carbohydrate,
    sugars, fibre, protein, salt; `per` and `portion` head the columns; `prose` fills paragraphs."""

    script: str
    title: str
    per: str
    portion: str
    names: tuple[str, ...]
    note: str
    prose: str
    comma: bool = True


@dataclass(frozen=True)
class Facts:
    """The words of one country's "Nutrition Facts": a panel per serving with daily values.

    Rows are "name;unit;largest value" with ">" in front of each step of indentation and "*" in
    front of names in bold; `vitamins` are names only.
    """

    script: str
    titles: tuple[str, ...]
    size: str
    count: str
    amount: str
    calories: str
    fat_calories: str
    daily: tuple[str, ...]
    rows: tuple[str, ...]
    vitamins: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class National:
    """The words of one country's own layout: `corner` and `heads` top its columns, `units` say how
    much the values are for, `names` are "name;unit;largest value"."""

    title: str
    corner: str
    heads: tuple[str, ...]
    units: tuple[str, ...]
    names: tuple[str, ...]
    note: str


def read_words(name: str) -> dict[str, Any]:
    """A TOML file next to this one, its lists as tuples."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return {key: _with_tuples(value) for key, value in tomllib.loads(text).items()}


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


LANGUAGES = {code: Language(**entry) for code, entry in read_words("languages.toml").items()}
FACTS = {country: Facts(**entry) for country, entry in read_words("facts.toml").items()}
NATIONAL = {country: National(**entry) for country, entry in read_words("national.toml").items()}

WORDS = read_words("words.toml")
