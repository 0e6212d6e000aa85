"""The embedded Salesforce: an org loaded from the same metadata that is deployed to a real one."""
