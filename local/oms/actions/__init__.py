"""The domain actions: everything that happens to patients, visits, orders, parcels, each in one transaction."""

from . import fulfilment, messages, orders, patients, subscriptions, visits
from .unit import ACTIONS, Action, Request, Work

__all__ = ["ACTIONS", "Action", "Request", "Work", "fulfilment", "messages", "orders", "patients", "subscriptions", "visits"]
