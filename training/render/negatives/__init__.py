"""Things that look like nutrition tables and are none: tags, documents, print, codes, shelves."""
