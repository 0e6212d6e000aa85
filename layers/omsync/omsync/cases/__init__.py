"""Service Cloud cases for what needs a human: one Case per distinct cause, without anything of a record but its name."""
