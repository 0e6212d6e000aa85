-- A row as the API shows it, defined once: API answers, outbox events and extracts are all `api_row(t)`.
--
-- Times are UTC with microseconds and Z, numeric is a decimal string (JSON numbers are floats to many readers),
-- char(n) has no padding. Everything else is what to_jsonb makes of it: dates, numbers, arrays, nested jsonb.

CREATE OR REPLACE FUNCTION api_time(t timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- The parts of an address that a patient shows.
CREATE OR REPLACE FUNCTION api_address(a patient_addresses) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_build_object(
    'id', a.id, 'recipient_name', a.recipient_name, 'line1', a.line1, 'line2', a.line2, 'city', a.city,
    'state_code', a.state_code, 'postal_code', a.postal_code, 'country_code', a.country_code::text,
    'validation_status', a.validation_status);

CREATE OR REPLACE FUNCTION default_address(patient uuid, address_kind text) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT api_address(a) FROM patient_addresses a
        WHERE a.patient_id = patient AND a.kind = address_kind AND a.is_default AND a.deleted_at IS NULL);

-- Define api_row(target) from the table's columns; run again after a column is added.
CREATE OR REPLACE FUNCTION define_api_row(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    shaped text;
    extra text := '';
BEGIN
    SELECT string_agg(format(CASE WHEN atttypid = 'timestamptz'::regtype THEN '%L, api_time(r.%I)' ELSE '%L, r.%I::text' END,
                             attname, attname), ', ' ORDER BY attnum)
    INTO shaped
    FROM pg_attribute
    WHERE attrelid = target AND attnum > 0 AND NOT attisdropped
      AND atttypid IN ('timestamptz'::regtype, 'numeric'::regtype, 'bpchar'::regtype);
    IF target = 'patients'::regclass THEN
        extra := ' || jsonb_build_object(''shipping_address'', default_address(r.id, ''shipping''),'
              || ' ''billing_address'', default_address(r.id, ''billing''))';
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION api_row(r %s) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE '
                   'RETURN to_jsonb(r) || jsonb_build_object(%s)%s', target, shaped, extra);
END $$;

-- The tables of schema.sql: those with the common columns.
CREATE OR REPLACE FUNCTION oms_tables() RETURNS SETOF regclass LANGUAGE sql STABLE AS $$
    SELECT attrelid::regclass FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE attname = 'changed_by' AND relkind = 'r' AND relnamespace = 'public'::regnamespace
      AND EXISTS (SELECT FROM pg_attribute v WHERE v.attrelid = pg_class.oid AND v.attname = 'deleted_at')
    ORDER BY pg_class.oid
$$;

SELECT define_api_row(t) FROM oms_tables() t;

-- History being loaded: no outbox, no state machine, no merge, no numbering of edits.
CREATE OR REPLACE FUNCTION seeding() RETURNS boolean LANGUAGE sql STABLE
RETURN current_setting('omsync.seeding', true) IS NOT DISTINCT FROM 'on';
