"""On PYTHONPATH, Pillow ends the process at a photo that holds MARK, as a broken decoder would."""

import os
import signal
import sys

MARK = b"ends the decoder"

if "nutrition_vl.batch.child" in sys.orig_argv:
    import PIL.Image

    usual = PIL.Image.open

    def open_or_die(stream, *args, **options):
        """Pillow's open, deadly."""
        if MARK in stream.getvalue():
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(stream, *args, **options)

    PIL.Image.open = open_or_die
