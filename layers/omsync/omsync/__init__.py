"""omsync: keeps an Order Management System and a Salesforce org in step, in both directions."""

__version__ = "0.1.0"
