"""Service Cloud cases for what needs a human."""
