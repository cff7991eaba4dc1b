"""Shows results: console, Markdown, CSV, HTML, charts."""
