-- State machines, the order's history, and what is frozen when: enforced for every writer, except while seeding.

CREATE TABLE IF NOT EXISTS state_transitions (
    machine    text NOT NULL,   -- table.column
    from_state text NOT NULL,   -- * = any
    to_state   text NOT NULL,
    PRIMARY KEY (machine, from_state, to_state)
);
DELETE FROM state_transitions;
INSERT INTO state_transitions
SELECT machine, from_state, string_to_table(to_states, ' ') FROM (VALUES
    ('orders.status', 'draft', 'pending_payment cancelled'),
    ('orders.status', 'pending_payment', 'pending_review approved cancelled error'),
    ('orders.status', 'pending_review', 'approved declined on_hold cancelled'),
    ('orders.status', 'on_hold', 'pending_review approved filling cancelled'),
    ('orders.status', 'approved', 'routing cancelled'),
    ('orders.status', 'routing', 'placed error cancelled'),
    ('orders.status', 'placed', 'filling error cancelled'),
    ('orders.status', 'filling', 'partially_shipped shipped on_hold error'),
    ('orders.status', 'partially_shipped', 'shipped'),
    ('orders.status', 'shipped', 'delivered returned'),
    ('orders.status', 'delivered', 'completed returned'),
    ('orders.status', 'completed', 'returned'),
    ('orders.status', 'error', 'routing cancelled'),
    ('consultations.status', 'requested', 'awaiting_patient scheduled queued cancelled expired'),
    ('consultations.status', 'awaiting_patient', 'queued scheduled expired cancelled'),
    ('consultations.status', 'scheduled', 'in_progress no_show cancelled'),
    ('consultations.status', 'queued', 'in_progress cancelled'),
    ('consultations.status', 'in_progress', 'on_hold completed declined'),
    ('consultations.status', 'on_hold', 'in_progress expired'),
    ('prescriptions.status', 'draft', 'ready_to_sign cancelled'),
    ('prescriptions.status', 'ready_to_sign', 'active cancelled'),
    ('prescriptions.status', 'active', 'on_hold depleted expired cancelled replaced'),
    ('prescriptions.status', 'on_hold', 'active cancelled'),
    ('prescriptions.status', '*', 'entered_in_error'),
    ('prescriptions.transmission_status', 'not_sent', 'sending'),
    ('prescriptions.transmission_status', 'sending', 'sent error'),
    ('prescriptions.transmission_status', 'error', 'sending fax_sent printed'),
    ('prescriptions.transmission_status', 'sent', 'pharmacy_verified error retracted'),
    ('shipments.status', 'pending', 'label_created cancelled'),
    ('shipments.status', 'label_created', 'handed_over cancelled'),
    ('shipments.status', 'handed_over', 'delivered returned'),
    -- a Stripe PaymentIntent: a failed attempt goes back to requires_payment_method, confirming may do several steps at once
    ('payments.status', 'requires_payment_method', 'requires_confirmation requires_action processing requires_capture succeeded canceled'),
    ('payments.status', 'requires_confirmation', 'requires_payment_method requires_action processing requires_capture succeeded canceled'),
    ('payments.status', 'requires_action', 'requires_payment_method requires_confirmation processing requires_capture succeeded canceled'),
    ('payments.status', 'processing', 'requires_payment_method requires_capture succeeded canceled'),
    ('payments.status', 'requires_capture', 'succeeded canceled'),
    ('refunds.status', 'pending', 'requires_action succeeded failed canceled'),
    ('refunds.status', 'requires_action', 'pending succeeded failed canceled'),
    ('clinical_notes.status', 'draft', 'signed entered_in_error'),
    ('clinical_notes.status', 'signed', 'amended entered_in_error'),
    ('clinical_notes.status', 'amended', 'entered_in_error')
) AS machines (machine, from_state, to_states);

-- Argument: the column that holds the state.
CREATE OR REPLACE FUNCTION keep_state() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was text := to_jsonb(OLD) ->> TG_ARGV[0];
    becomes text := to_jsonb(NEW) ->> TG_ARGV[0];
BEGIN
    IF NOT EXISTS (SELECT FROM state_transitions WHERE machine = TG_TABLE_NAME || '.' || TG_ARGV[0]
                   AND from_state IN (was, '*') AND to_state = becomes) THEN
        RAISE EXCEPTION '% cannot go from % to %', TG_TABLE_NAME, was, becomes
            USING ERRCODE = '23514', TABLE = TG_TABLE_NAME, COLUMN = TG_ARGV[0],
                  CONSTRAINT = TG_TABLE_NAME || '_' || TG_ARGV[0] || '_transition';
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE
    machine record;
BEGIN
    FOR machine IN SELECT DISTINCT split_part(s.machine, '.', 1) AS relation, split_part(s.machine, '.', 2) AS state
                   FROM state_transitions s LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER t50_%s BEFORE UPDATE ON %I FOR EACH ROW
                        WHEN (NEW.%I IS DISTINCT FROM OLD.%I AND NOT seeding()) EXECUTE FUNCTION keep_state(%L)',
                       machine.state, machine.relation, machine.state, machine.state, machine.state);
    END LOOP;
END $$;

-- What the carrier says moves freely, but delivered stays delivered until the parcel comes back.
CREATE OR REPLACE FUNCTION keep_delivered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a delivered parcel can only be returned to its sender'
        USING ERRCODE = '23514', TABLE = 'shipments', COLUMN = 'tracking_status', CONSTRAINT = 'shipments_tracking_status_transition';
END $$;

CREATE OR REPLACE TRIGGER t51_tracking BEFORE UPDATE ON shipments FOR EACH ROW
    WHEN (OLD.tracking_status = 'delivered' AND NEW.tracking_status NOT IN ('delivered', 'return_to_sender') AND NOT seeding())
    EXECUTE FUNCTION keep_delivered();

-- Columns that no longer change. The trigger's arguments are the columns; the message is the first of them.
CREATE OR REPLACE FUNCTION keep_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    becomes jsonb := to_jsonb(NEW);
    changed text;
BEGIN
    FOREACH changed IN ARRAY TG_ARGV[1:] LOOP
        IF was -> changed IS DISTINCT FROM becomes -> changed THEN
            RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = '23514', TABLE = TG_TABLE_NAME, COLUMN = changed,
                CONSTRAINT = TG_TABLE_NAME || '_frozen';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER t60_signed BEFORE UPDATE ON clinical_notes FOR EACH ROW
    WHEN (OLD.status <> 'draft' AND NOT seeding())
    EXECUTE FUNCTION keep_frozen('a signed note is immutable: amend it by a new one', 'note_type', 'title', 'body', 'body_sha256',
        'consultation_id', 'author_provider_id', 'amends_note_id', 'is_sensitive', 'signed_at');

CREATE OR REPLACE TRIGGER t60_shipped BEFORE UPDATE ON orders FOR EACH ROW
    WHEN (OLD.status IN ('shipped', 'delivered', 'completed', 'returned') AND NOT seeding())
    EXECUTE FUNCTION keep_frozen('the order has been shipped: its address no longer changes', 'ship_name', 'ship_line1', 'ship_line2',
        'ship_city', 'ship_state', 'ship_postal_code', 'ship_country');

-- A signed note moves to another patient only with a merge.
CREATE OR REPLACE FUNCTION keep_signed_patient() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM patients WHERE id = OLD.patient_id AND merged_into_patient_id = NEW.patient_id) THEN
        RAISE EXCEPTION 'a signed note stays with its patient'
            USING ERRCODE = '23514', TABLE = 'clinical_notes', COLUMN = 'patient_id', CONSTRAINT = 'clinical_notes_frozen';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER t61_patient BEFORE UPDATE ON clinical_notes FOR EACH ROW
    WHEN (OLD.status <> 'draft' AND NEW.patient_id <> OLD.patient_id AND NOT seeding()) EXECUTE FUNCTION keep_signed_patient();

CREATE OR REPLACE FUNCTION stamp_signature() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.signed_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER t62_signature BEFORE UPDATE ON clinical_notes FOR EACH ROW
    WHEN (OLD.status = 'draft' AND NEW.status = 'signed' AND NEW.signed_at IS NULL) EXECUTE FUNCTION stamp_signature();

-- Every order transition is written down, by whatever path it came.
CREATE OR REPLACE FUNCTION write_order_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_status_history (order_id, seq, from_status, to_status, reason, actor_type, occurred_at)
    SELECT NEW.id, coalesce(max(seq), 0) + 1, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status,
           coalesce(nullif(current_setting('omsync.reason', true), ''), CASE WHEN NEW.status = 'on_hold' THEN NEW.hold_reason END),
           coalesce(nullif(current_setting('omsync.actor_type', true), ''),
                    CASE WHEN NEW.changed_by LIKE 'sync:%' THEN 'salesforce' ELSE 'system' END),
           clock_timestamp()
    FROM order_status_history WHERE order_id = NEW.id;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON orders FOR EACH ROW
    WHEN (NOT seeding()) EXECUTE FUNCTION write_order_history();
CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON orders FOR EACH ROW
    WHEN (NEW.status IS DISTINCT FROM OLD.status AND NOT seeding()) EXECUTE FUNCTION write_order_history();
