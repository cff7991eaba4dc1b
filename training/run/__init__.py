"""One training run: preflight, trainer, callbacks, validation, output folder."""
