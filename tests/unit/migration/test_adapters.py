"""The ledger as the migration uses it: leases are renewed, fulfilled and given back by whom they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from omsync.migration.adapters import LedgerItems
from omsync.platform.errors import OmsyncError, Stale
from omsync.sync.ledger import DynamoLedger
from omsync.sync.records import Item, Lease, RecordKey

KEYS = [RecordKey("communications", str(number)) for number in range(5)]
MINE, OTHERS = Lease("me", 100), Lease("other", 100)


@dataclass
class Store:
    """`DynamoLedger`, in memory."""

    items: dict[RecordKey, Item] = field(default_factory=dict)

    def read(self, keys: Sequence[RecordKey]) -> list[Item | None]:
        return [self.items.get(key) for key in keys]

    def save_many(self, items: Sequence[Item]) -> list[Item | OmsyncError]:
        return [self._save(item) for item in items]

    def _save(self, item: Item) -> Item | OmsyncError:
        known = self.items.get(item.key)
        if (known.revision if known else 0) != item.revision:
            return Stale("the ledger's item moved")
        saved = self.items[item.key] = replace(item, revision=item.revision + 1)
        return saved


def ledger() -> tuple[LedgerItems, Store]:
    """Mine, another's, one that is given back, one that is inserted, none."""
    store = Store()
    items = LedgerItems(cast("DynamoLedger", store))
    made = [
        Item(key=KEYS[0], lease=MINE),
        Item(key=KEYS[1], lease=OTHERS),
        Item(key=KEYS[2]),
        Item(key=KEYS[3], salesforce_id="there", lease=MINE),
    ]
    items.save(made)
    return items, store


def test_a_holder_renews_its_own_leases_whenever_they_end() -> None:
    items, store = ledger()
    assert items.renew(KEYS, Lease("me", 200)) == [True, False, False, False, False]
    assert items.renew(KEYS[:1], Lease("me", 300)) == [True]
    assert {key: item.lease for key, item in store.items.items()} == {
        KEYS[0]: Lease("me", 300),
        KEYS[1]: OTHERS,
        KEYS[2]: None,
        KEYS[3]: MINE,
    }


def test_what_is_inserted_is_noted_where_the_lease_is_still_ones_own() -> None:
    items, store = ledger()
    items.renew(KEYS[:1], Lease("me", 200))
    items.inserted([Item(key=key, salesforce_id="new") for key in KEYS], "me")
    assert [(item.salesforce_id, item.lease) for item in store.items.values()] == [
        ("new", None),
        (None, OTHERS),
        (None, None),
        ("there", MINE),
    ]


def test_a_lease_is_given_back_by_its_holder_alone() -> None:
    items, store = ledger()
    items.release(KEYS, "me")
    assert [item.lease for item in store.items.values()] == [None, OTHERS, None, MINE]
