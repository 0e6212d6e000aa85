"""The embedded stack: reference OMS, Salesforce simulator, AWS. Never imported by `layers/` or `functions/`."""
