"""Looks at a photo: opened, prepared, cropped, and looked at a second time."""
