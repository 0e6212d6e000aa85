"""The product's synchroniser under random schedules: nothing is found, and every guard taken away is found missing.

pytest tests/simulation                                  500 seeds of five kinds of weather, and each guard removed
OMSYNC_SEEDS=5000 pytest tests/simulation -k weather     more of them
"""

from __future__ import annotations

import os

import pytest
from simulation import WEATHERS, Simulation, Weather
from world import PARTS

SEEDS = int(os.environ.get("OMSYNC_SEEDS", "500"))
CHUNK = 50
#: seeds within which a missing guard must show; it took 21 at most when this was written
ENOUGH = 200
#: what makes a guard's absence show soon
STORMY = Weather(kill=0.03, deaf=0.03, edits=24, workers=6)
CROWDED = Weather(kill=0.02, deaf=0.03, edits=24, workers=8, dup=0.9, messages=20)


def complaints(seed: int, weather: Weather, parts: frozenset[str] = PARTS) -> list[str]:
    return Simulation(seed, weather, parts).run()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_schedule_in_any_weather_breaks_an_invariant(first: int) -> None:
    found = {seed: bad for seed in range(first, first + CHUNK) if (bad := complaints(seed, WEATHERS[seed % len(WEATHERS)]))}
    assert not found


@pytest.mark.parametrize("guard", sorted(PARTS))
def test_without_a_guard_something_breaks(guard: str) -> None:
    weather = CROWDED if guard == "lease" else STORMY
    assert any(complaints(seed, weather, PARTS - {guard}) for seed in range(ENOUGH)), f"nothing breaks without {guard}: is it needed?"
