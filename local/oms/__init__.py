"""The reference OMS: the company's order system, as omsync meets it. PostgreSQL holds the rules, FastAPI the door.

`schema.sql` has the 23 tables; `python -m local.oms` runs the service; `database.py` brings an embedded server where
no `OMS_DATABASE_URL` names another. Nothing of the product imports this package: it knows the OMS by its API alone.
"""
