"""What is known of each chunk and run, in the state table: small JSON documents that a retry reads first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omsync.migration.model import ChunkRef, ChunkState
from omsync.migration.ports import States
from omsync.platform.errors import Retryable


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunk states by ref."""

    states: States

    def read(self, ref: ChunkRef) -> ChunkState:
        """What is known; a chunk nobody touched is planned."""
        found = self.states.read(ref.key)
        return ChunkState.model_validate_json(found) if found is not None else ChunkState()

    def read_many(self, refs: Sequence[ChunkRef]) -> list[ChunkState]:
        """Of each, in order."""
        found = self.states.read_many([ref.key for ref in refs])
        return [ChunkState.model_validate_json(found[ref.key]) if ref.key in found else ChunkState() for ref in refs]

    def write(self, ref: ChunkRef, state: ChunkState) -> None:
        """Save it as the next revision.

        Raises `Retryable` if somebody else saved meanwhile: a stopped execution's last step may still be at work beside a resumed one's.
        """
        seen = state.revision
        state.revision = seen + 1
        if not self.states.replace(ref.key, state.model_dump_json(exclude_defaults=True), seen=seen):
            raise Retryable(f"somebody else works on {ref.name}", code="migration.race", after=5)
