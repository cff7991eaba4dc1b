"""The web page's tabs for photos: one photo, many photos, corrections."""
