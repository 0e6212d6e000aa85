"""The embedded stack: PostgreSQL, the reference OMS, the Salesforce simulator and AWS, started, deployed into and stopped as one."""
