"""Real-time sync: mirrored records one way and blind, shared records both ways by one synchroniser."""
