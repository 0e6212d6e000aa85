"""`sam local invoke` against the running embedded stack: a template with the deployed functions' variables, their events, and a way in."""
