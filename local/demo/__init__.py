"""`omsync demo`: the whole system at work on an embedded stack of its own, told in the terminal and on a page."""
