"""SOQL for the simulator: lexer, recursive-descent parser, compiler to SQLite, executor with locators, HTTP routes."""

from local.salesforce.soql.endpoints import routes

__all__ = ["routes"]
