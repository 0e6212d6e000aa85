"""The 22 patient lifecycle emails: transitions, claims, composing, sending, feedback."""
