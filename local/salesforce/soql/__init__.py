"""SOQL for the simulator: lexer, recursive-descent parser, compiler to SQLite, executor with locators, HTTP routes."""
