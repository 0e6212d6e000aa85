-- What the service keeps for itself.

-- First answers by Idempotency-Key. `client_id` is '' for a command: such a key is unique among all callers and kept for
-- good, so that the command is executed once however late it is repeated. Others are pruned after 7 days.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    client_id   text        NOT NULL,
    key         text        NOT NULL,
    fingerprint text        NOT NULL,
    status      integer,
    version     bigint,
    body        text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, key)
);
CREATE INDEX IF NOT EXISTS idempotency_keys_created ON idempotency_keys (created_at) WHERE client_id <> '';
