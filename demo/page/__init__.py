"""A page to try the model in a browser: python -m demo.page."""
