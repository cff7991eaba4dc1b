"""The typefaces that the renderer draws with, one list per script.

They come from Debian packages, installed or copied to ~/.fonts: fonts-liberation (SIL OFL 1.1),
fonts-dejavu (Bitstream Vera licence), fonts-noto-core and fonts-noto-cjk (OFL), fonts-roboto
(Apache 2.0), fonts-open-sans (Apache 2.0).  Where none is installed, Matplotlib's own DejaVu Sans
serves and the scripts it cannot draw are left out (`scripts()` says which remain).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from training.render.layout.words import read_words

FOLDERS = (Path("/usr/share/fonts"), Path.home() / ".fonts")
FILES = read_words("fonts.toml")
PAIRS = {
    **dict.fromkeys(("latin", "greek", "cyrillic"), FILES["latin"]),
    "vietnamese": tuple(pair for pair in FILES["latin"] if not pair[0].startswith("Liberation")),
    **{script: FILES[script] for script in ("thai", "arabic", "hebrew", "devanagari")},
    **dict.fromkeys(("japanese", "korean", "chinese"), FILES["cjk"]),
}
COLLECTION_INDEX = {"japanese": 0, "korean": 1, "chinese": 2}  # the order inside Noto's .ttc
WITHOUT_LATIN = ("thai", "arabic", "hebrew", "devanagari")  # Noto's cuts of these
RUN = re.compile(r"[!-~]+(?: +[!-~]+)*|[^!-~]+")
FALLBACK = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
FALLBACK_SCRIPTS = ("latin", "greek", "cyrillic", "vietnamese")


@dataclass(frozen=True)
class Typeface:
    """A regular and a bold cut of one family; `latin` draws its ASCII where it has none itself."""

    regular: str
    bold: str
    index: int = 0
    latin: "Typeface | None" = None

    def font(self, size: float, bold: bool = False) -> ImageFont.FreeTypeFont:
        """The cut at `size` pixels."""
        return _font(self.bold if bold else self.regular, max(4, round(size)), self.index)

    def runs(self, text: str) -> list[tuple["Typeface", str]]:
        """`text` cut where the typeface has to change."""
        if self.latin is None or not text:
            return [(self, text)]
        if text.isascii():
            return [(self.latin, text)]
        return [(self.latin if run.isascii() else self, run) for run in RUN.findall(text)]


@lru_cache(maxsize=4096)
def _font(path: str, size: int, index: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, index=index)


@lru_cache(maxsize=1)
def _installed() -> dict[str, str]:
    files = {p.name: str(p) for f in FOLDERS for p in sorted(f.rglob("*.tt[fc]"))}
    if not any(name in files for pair in FILES["latin"] for name in pair):
        import matplotlib  # a heavy import, and only this rare case needs it

        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        files = {name: str(folder / name) for name in FALLBACK}
    return files


@lru_cache(maxsize=32)
def typefaces(script: str) -> tuple[Typeface, ...]:
    """The installed typefaces that draw `script`; empty where there is none."""
    files, index = _installed(), COLLECTION_INDEX.get(script, 0)
    pairs = PAIRS[script] + ((FALLBACK,) if script in FALLBACK_SCRIPTS else ())
    latin = typefaces("latin")[0] if script in WITHOUT_LATIN else None
    return tuple(
        Typeface(files[regular], files[bold], index, latin)
        for regular, bold in pairs
        if regular in files and bold in files
    )


@lru_cache(maxsize=1)
def scripts() -> tuple[str, ...]:
    """The scripts that this machine has a typeface for."""
    return tuple(script for script in PAIRS if typefaces(script))
