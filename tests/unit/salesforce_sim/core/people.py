"""Who saves in the core's tests."""

from __future__ import annotations

from dataclasses import dataclass

from local.salesforce.context import Context


@dataclass
class People:
    """Contexts by role: everything allowed; what the Care_Coordinator set grants; our two technical users."""

    admin: Context
    coordinator: Context
    integration: Context
    load: Context
