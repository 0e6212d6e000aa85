-- What every write obeys, whoever writes: versions, edit times, numbers, hashes, soft deletes, address fan-in, merges.
--
-- Settings a session may make (set_config(..., true) for one transaction):
--   omsync.changed_by      who writes; otherwise the database user
--   omsync.correlation_id  carried by the events of this transaction
--   omsync.actor_type, omsync.reason   for the order's history
--   omsync.seeding = 'on'  history is loaded: see seeding()
-- BEFORE triggers fire in the order of their names, hence the numbers.

-- Every update: a new version, the clock's time, the transaction that made it.
CREATE OR REPLACE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    who text := nullif(current_setting('omsync.changed_by', true), '');
BEGIN
    IF NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'an id never changes' USING ERRCODE = '23514', TABLE = TG_TABLE_NAME, COLUMN = 'id';
    END IF;
    NEW.version := OLD.version + 1;
    NEW.updated_at := clock_timestamp();
    NEW.change_xid := pg_current_xact_id();
    IF who IS NOT NULL THEN
        NEW.changed_by := who;
    ELSIF NEW.changed_by = OLD.changed_by THEN
        NEW.changed_by := current_user;
    END IF;
    RETURN NEW;
END $$;

-- An insert through the service names the caller; psql is named by the column's default.
CREATE OR REPLACE FUNCTION name_creator() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_by := current_setting('omsync.changed_by');
    RETURN NEW;
END $$;

-- edited_at of the columns named by the trigger's arguments: a column's time moves only when its value does.
CREATE OR REPLACE FUNCTION keep_edit_times() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb;
    becomes jsonb;
    edits jsonb := '{}';
    shared text;
BEGIN
    IF TG_OP = 'INSERT' THEN  -- history keeps its own time
        NEW.edited_at := jsonb_object(TG_ARGV, array_fill(
            api_time(CASE WHEN seeding() THEN NEW.updated_at ELSE clock_timestamp() END), ARRAY[TG_NARGS])) || NEW.edited_at;
        RETURN NEW;
    END IF;
    was := to_jsonb(OLD);
    becomes := to_jsonb(NEW);
    FOREACH shared IN ARRAY TG_ARGV LOOP
        IF was -> shared IS DISTINCT FROM becomes -> shared THEN
            edits := edits || jsonb_build_object(shared, api_time(clock_timestamp()));
        END IF;
    END LOOP;
    NEW.edited_at := NEW.edited_at || edits;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted: set deleted_at', TG_TABLE_NAME USING ERRCODE = '42501';
END $$;

DO $$
DECLARE
    t regclass;
    shared CONSTANT jsonb := '{
        "patients": ["first_name", "middle_name", "last_name", "suffix", "preferred_name", "gender_identity", "pronouns", "email",
                     "phone_e164", "sms_opt_in", "marketing_opt_in", "preferred_language", "preferred_pharmacy_id", "care_owner_id",
                     "vip_tier", "care_notes", "shipping_address", "billing_address"],
        "patient_consents": ["revoked_at"],
        "consultations": ["scheduled_at"],
        "clinical_notes": ["note_type", "title", "body"],
        "subscriptions": ["requested_action", "cancel_reason"],
        "orders": ["hold_reason", "requested_action", "ship_name", "ship_line1", "ship_line2", "ship_city", "ship_state",
                   "ship_postal_code", "ship_country", "agent_note"],
        "support_cases": ["patient_id", "order_id", "prescription_id", "parent_case_id", "owner_id", "category", "priority", "status",
                          "origin", "subject", "description", "resolution", "closed_at"],
        "communications": ["patient_id", "case_id"]}';
    columns text;
BEGIN
    FOR t IN SELECT oms_tables() LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER t90_bump BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION bump()', t);
        EXECUTE format($f$CREATE OR REPLACE TRIGGER t10_creator BEFORE INSERT ON %s FOR EACH ROW
                          WHEN (current_setting('omsync.changed_by', true) <> '') EXECUTE FUNCTION name_creator()$f$, t);
        EXECUTE format('CREATE OR REPLACE TRIGGER no_delete BEFORE DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete()', t);
        EXECUTE format('CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT
                        WHEN (NOT seeding()) EXECUTE FUNCTION refuse_delete()', t);
        EXECUTE format('REVOKE DELETE, TRUNCATE ON %s FROM PUBLIC', t);
        IF shared ? t::text THEN
            SELECT string_agg(quote_literal(c), ', ') INTO columns FROM jsonb_array_elements_text(shared -> t::text) c;
            EXECUTE format('CREATE OR REPLACE TRIGGER t80_edit_times BEFORE INSERT OR UPDATE ON %s FOR EACH ROW
                            EXECUTE FUNCTION keep_edit_times(%s)', t, columns);
        END IF;
    END LOOP;
END $$;

-- Numbers that a created row lacks. Arguments: column, sequence, prefix.
CREATE OR REPLACE FUNCTION fill_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[0], TG_ARGV[2] || nextval(TG_ARGV[1]::regclass)));
END $$;

DO $$
DECLARE
    numbered record;
BEGIN
    FOR numbered IN SELECT * FROM (VALUES
        ('patients', 'patient_number', 'P-'), ('consultations', 'consultation_number', 'C-'),
        ('subscriptions', 'subscription_number', 'S-'), ('prescriptions', 'rx_number', 'RX-'), ('orders', 'order_number', 'O-'),
        ('shipments', 'shipment_number', 'SH-'), ('support_cases', 'case_number', 'T-')) AS n (relation, number_column, prefix)
    LOOP
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS %I START 50000000', numbered.number_column || '_seq');
        EXECUTE format('CREATE OR REPLACE TRIGGER t20_number BEFORE INSERT ON %I FOR EACH ROW WHEN (NEW.%I IS NULL)
                        EXECUTE FUNCTION fill_number(%L, %L, %L)',
                       numbered.relation, numbered.number_column, numbered.number_column, numbered.number_column || '_seq',
                       numbered.prefix);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION text_sha256(t text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN encode(sha256(convert_to(coalesce(t, ''), 'UTF8')), 'hex');

-- The hash of a body: reconciliation compares it without reading the body.
CREATE OR REPLACE FUNCTION hash_body() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'clinical_notes' THEN
        NEW.body_sha256 := text_sha256(NEW.body);
    ELSE
        NEW.body_sha256 := text_sha256(coalesce(NEW.body_text, NEW.body_html));
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER t30_hash BEFORE INSERT ON clinical_notes FOR EACH ROW
    WHEN (NEW.body_sha256 IS NULL) EXECUTE FUNCTION hash_body();
CREATE OR REPLACE TRIGGER t31_hash BEFORE UPDATE ON clinical_notes FOR EACH ROW
    WHEN (NEW.body IS DISTINCT FROM OLD.body) EXECUTE FUNCTION hash_body();
CREATE OR REPLACE TRIGGER t30_hash BEFORE INSERT ON communications FOR EACH ROW
    WHEN (NEW.body_sha256 IS NULL) EXECUTE FUNCTION hash_body();
CREATE OR REPLACE TRIGGER t31_hash BEFORE UPDATE ON communications FOR EACH ROW
    WHEN ((NEW.body_text, NEW.body_html) IS DISTINCT FROM (OLD.body_text, OLD.body_html)) EXECUTE FUNCTION hash_body();

-- An address changed: its patient is a new version too, in the same transaction. The patient's edit time for
-- `shipping_address` or `billing_address` moves only if what a person edits of the default address has changed.
-- What the patient showed before travels to the outbox trigger in omsync.address_was.
CREATE OR REPLACE FUNCTION mark_patient() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved boolean := TG_OP = 'UPDATE' AND (OLD.patient_id, OLD.kind) IS DISTINCT FROM (NEW.patient_id, NEW.kind);
    was jsonb;
    becomes jsonb;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.is_default AND OLD.deleted_at IS NULL THEN
        was := api_address(OLD);
    END IF;
    IF NEW.is_default AND NEW.deleted_at IS NULL THEN
        becomes := api_address(NEW);
    END IF;
    IF moved THEN
        PERFORM mark_patient_address(OLD.patient_id, OLD.kind, was, NULL);
        was := NULL;
    END IF;
    PERFORM mark_patient_address(NEW.patient_id, NEW.kind, was, becomes);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION mark_patient_address(patient uuid, address_kind text, was jsonb, becomes jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    unit text := address_kind || '_address';
    shown boolean := address_kind IN ('shipping', 'billing') AND was IS DISTINCT FROM becomes;
    edited boolean := shown AND was - ARRAY['id', 'validation_status'] IS DISTINCT FROM becomes - ARRAY['id', 'validation_status'];
BEGIN
    IF shown THEN
        PERFORM set_config('omsync.address_was', jsonb_build_object(unit, was)::text, true);
    END IF;
    UPDATE patients
    SET edited_at = CASE WHEN edited THEN edited_at || jsonb_build_object(unit, api_time(clock_timestamp())) ELSE edited_at END
    WHERE id = patient;
    IF shown THEN
        PERFORM set_config('omsync.address_was', '', true);
    END IF;
END $$;

CREATE OR REPLACE TRIGGER mark_patient AFTER INSERT OR UPDATE ON patient_addresses FOR EACH ROW
    WHEN (NOT seeding()) EXECUTE FUNCTION mark_patient();

-- A merge: the loser is `merged`, and everything that named it names the survivor, in the same transaction.
CREATE OR REPLACE FUNCTION check_merge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.merged_into_patient_id = NEW.id
       OR NOT EXISTS (SELECT FROM patients WHERE id = NEW.merged_into_patient_id AND status <> 'merged' AND deleted_at IS NULL) THEN
        RAISE EXCEPTION 'the survivor of a merge is another patient, neither merged nor deleted'
            USING ERRCODE = '23514', TABLE = 'patients', COLUMN = 'merged_into_patient_id';
    END IF;
    NEW.status := 'merged';
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION move_children() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    child record;
BEGIN
    UPDATE patient_addresses a SET is_default = false
    WHERE patient_id = OLD.id AND is_default AND EXISTS (
        SELECT FROM patient_addresses s
        WHERE s.patient_id = NEW.merged_into_patient_id AND s.kind = a.kind AND s.is_default AND s.deleted_at IS NULL);
    FOR child IN
        SELECT conrelid::regclass AS relation, attname AS column_name
        FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
        WHERE contype = 'f' AND confrelid = 'patients'::regclass
        ORDER BY conrelid
    LOOP
        EXECUTE format('UPDATE %s SET %I = $1 WHERE %I = $2 AND id <> $2', child.relation, child.column_name, child.column_name)
        USING NEW.merged_into_patient_id, OLD.id;
    END LOOP;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER t40_merge BEFORE UPDATE ON patients FOR EACH ROW
    WHEN (NEW.merged_into_patient_id IS DISTINCT FROM OLD.merged_into_patient_id AND NEW.merged_into_patient_id IS NOT NULL
          AND NOT seeding())
    EXECUTE FUNCTION check_merge();
CREATE OR REPLACE TRIGGER merge AFTER UPDATE ON patients FOR EACH ROW
    WHEN (NEW.merged_into_patient_id IS DISTINCT FROM OLD.merged_into_patient_id AND NEW.merged_into_patient_id IS NOT NULL
          AND NOT seeding())
    EXECUTE FUNCTION move_children();
