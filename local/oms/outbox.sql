-- The outbox: every insert and update of the 23 tables, written down by trigger in the transaction that made it, so that a
-- change by any path (psql too) is told. Seeding writes none: it is history, not news.
--
--   outbox           the log, read by cursor in (change_xid, seq) order below the snapshot's xmin; pruned after 14 days
--   outbox_pending   what the dispatcher has still to deliver; needs no order, since events carry versions
--   outbox_parked    what the receiver refused, with its reason, until somebody looks

CREATE TABLE IF NOT EXISTS outbox (
    seq            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    change_xid     xid8        NOT NULL DEFAULT pg_current_xact_id(),
    written_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name     text        NOT NULL,
    operation      text        NOT NULL CHECK (operation IN ('created', 'updated', 'deleted')),
    correlation_id text        NOT NULL,
    row            jsonb       NOT NULL,
    old            jsonb       NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_changes ON outbox (change_xid, seq);
CREATE INDEX IF NOT EXISTS outbox_written ON outbox USING brin (written_at);
CREATE INDEX IF NOT EXISTS outbox_records ON outbox ((row ->> 'id'));

CREATE TABLE IF NOT EXISTS outbox_pending (
    seq bigint PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE IF NOT EXISTS outbox_parked (
    seq       bigint      PRIMARY KEY REFERENCES outbox (seq),
    event_id  uuid        NOT NULL,
    reason    text        NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now()
);

-- old = the changed columns' former values; the bookkeeping columns change every time and say nothing.
CREATE OR REPLACE FUNCTION write_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    becomes jsonb := api_row(NEW);
    operation text := 'created';
    old_values jsonb := '{}';
    written bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        operation := CASE WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN 'deleted' ELSE 'updated' END;
        SELECT coalesce(jsonb_object_agg(key, value), '{}') INTO old_values
        FROM jsonb_each(api_row(OLD))
        WHERE value IS DISTINCT FROM becomes -> key AND key NOT IN ('version', 'updated_at', 'change_xid', 'changed_by', 'edited_at');
        IF TG_TABLE_NAME = 'patients' THEN
            old_values := old_values || coalesce(nullif(current_setting('omsync.address_was', true), '')::jsonb, '{}');
        END IF;
    END IF;
    INSERT INTO outbox (table_name, operation, correlation_id, row, old)
    VALUES (TG_TABLE_NAME, operation,
            coalesce(nullif(current_setting('omsync.correlation_id', true), ''), 'oms-' || pg_current_xact_id()::text),
            becomes, old_values)
    RETURNING seq INTO written;
    INSERT INTO outbox_pending VALUES (written);
    NOTIFY omsync_outbox;
    RETURN NULL;
END $$;

-- AFTER triggers fire in the order of their names: the change itself is told before what other triggers write because of it.
DO $$
DECLARE
    t regclass;
BEGIN
    FOR t IN SELECT oms_tables() LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER a_outbox AFTER INSERT OR UPDATE ON %s FOR EACH ROW
                        WHEN (NOT seeding()) EXECUTE FUNCTION write_outbox()', t);
    END LOOP;
END $$;

-- The outbox row as a CloudEvent 1.0.
CREATE OR REPLACE FUNCTION cloud_event(e outbox) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'specversion', '1.0', 'id', e.id, 'source', '/oms', 'type', 'com.upscript.oms.' || e.table_name || '.' || e.operation,
    'subject', e.table_name || '/' || (e.row ->> 'id'), 'time', api_time(e.written_at), 'datacontenttype', 'application/json',
    'correlationid', e.correlation_id,
    'data', jsonb_build_object('table', e.table_name, 'id', e.row -> 'id', 'version', e.row -> 'version',
                               'changed_by', e.row -> 'changed_by', 'row', e.row, 'old', e.old));
