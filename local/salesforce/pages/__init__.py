"""Pages for people: browse the org's objects, look at a record with what belongs to it, change it as a coordinator would."""
