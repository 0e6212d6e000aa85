-- The OMS database: 23 tables, their constraints and indexes. The other files of this folder add behaviour:
--   functions.sql  a row as API JSON                 triggers.sql  versions, edit times, numbers, hashes, soft deletes
--   states.sql     state machines, immutable notes   outbox.sql    every change, written down in the transaction that made it
--   service.sql    what the API keeps for itself (idempotency keys, delivery)
--
-- Every table carries the same seven common columns: `id` first, the other six last. `version`, `updated_at` and
-- `change_xid` belong to the triggers. A table that Salesforce may edit too has `edited_at`: {column: time of its last edit}.
-- Money is integer cents with a currency; time is timestamptz; rows are never deleted, `deleted_at` is set.
-- A number or hash that is NOT NULL may be left out of an INSERT: the triggers fill it. Given numbers must stay below
-- the sequences' start (50,000,000) or use a prefix of their own.

-- OMS operators, care agents
CREATE TABLE staff_users (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    employee_no text        NOT NULL UNIQUE,
    full_name   text        NOT NULL,
    email       text        NOT NULL UNIQUE,
    role        text        NOT NULL
        CHECK (role IN ('agent', 'care_coordinator', 'pharmacist', 'clinician', 'billing', 'admin',
            'system')),
    time_zone   text        NOT NULL DEFAULT 'UTC',
    sso_subject text        UNIQUE,
    is_active   boolean     NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    version     bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid  xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by  text        NOT NULL DEFAULT current_user,
    deleted_at  timestamptz
);

-- dispensing partners
CREATE TABLE pharmacies (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    name            text        NOT NULL CHECK (length(name) <= 255),
    ncpdp_id        char(7)     UNIQUE CHECK (ncpdp_id ~ '^[0-9]{7}$'),
    npi             char(10)    CHECK (npi ~ '^[0-9]{10}$'),
    pharmacy_type   text        NOT NULL CHECK (pharmacy_type IN ('mail_order', 'retail', 'compounding', 'specialty')),
    phone           text,
    fax             text,
    line1           text,
    line2           text,
    city            text,
    state_code      char(2),
    postal_code     text,
    country_code    char(2)     NOT NULL DEFAULT 'US',
    ships_to_states text[]      NOT NULL DEFAULT '{}',
    accepts_erx     boolean     NOT NULL DEFAULT true,
    time_zone       text        NOT NULL DEFAULT 'America/New_York',
    sla_hours       integer     CHECK (sla_hours > 0),
    is_active       boolean     NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    version         bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by      text        NOT NULL DEFAULT current_user,
    deleted_at      timestamptz
);

-- prescribers
CREATE TABLE providers (
    id                 uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    staff_user_id      uuid        REFERENCES staff_users(id),
    npi                char(10)    NOT NULL UNIQUE CHECK (npi ~ '^[0-9]{10}$'),
    first_name         text        NOT NULL CHECK (length(first_name) <= 40),
    last_name          text        NOT NULL CHECK (length(last_name) <= 80),
    credentials        text,
    specialty          text,
    email              text,
    phone              text,
    dea_number         text        CHECK (dea_number ~ '^[A-Z]{2}[0-9]{7}$'),
    licensed_states    text[]      NOT NULL DEFAULT '{}',
    license_expires_on date,
    time_zone          text        NOT NULL DEFAULT 'America/New_York',
    is_active          boolean     NOT NULL DEFAULT true,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    version            bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by         text        NOT NULL DEFAULT current_user,
    deleted_at         timestamptz
);

-- drugs, OTC, kits, services
CREATE TABLE products (
    id                     uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    sku                    text        NOT NULL UNIQUE,
    name                   text        NOT NULL CHECK (length(name) <= 255),
    product_type           text        NOT NULL
        CHECK (product_type IN ('rx_drug', 'otc', 'supply', 'lab_kit', 'service', 'membership')),
    rxnorm_code            text,
    ndc11                  char(11)    CHECK (ndc11 ~ '^[0-9]{11}$'),
    strength               text,
    dose_form              text,
    dea_schedule           text        NOT NULL DEFAULT 'none' CHECK (dea_schedule IN ('none', 'II', 'III', 'IV', 'V')),
    requires_prescription  boolean     NOT NULL DEFAULT false,
    cold_chain             boolean     NOT NULL DEFAULT false,
    list_price_cents       bigint      NOT NULL CHECK (list_price_cents >= 0),
    currency               char(3)     NOT NULL DEFAULT 'USD',
    unit_of_measure        text        NOT NULL DEFAULT 'each',
    description            text,
    replaced_by_product_id uuid        REFERENCES products(id),
    is_active              boolean     NOT NULL DEFAULT true,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    version                bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by             text        NOT NULL DEFAULT current_user,
    deleted_at             timestamptz
);

-- master person record
CREATE TABLE patients (
    id                     uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_number         text         NOT NULL UNIQUE,
    first_name             text,
    middle_name            text,
    last_name              text         NOT NULL,
    suffix                 text,
    preferred_name         text,
    date_of_birth          date         CHECK (date_of_birth > DATE '1900-01-01'),
    sex_at_birth           text         CHECK (sex_at_birth IN ('female', 'male', 'intersex', 'unknown')),
    gender_identity        text,
    pronouns               text,
    email                  text,
    email_verified_at      timestamptz,
    phone_e164             text         CHECK (phone_e164 ~ '^[+][1-9][0-9]{6,14}$'),
    phone_raw              text,
    sms_opt_in             boolean      NOT NULL DEFAULT false,
    marketing_opt_in       boolean      NOT NULL DEFAULT false,
    preferred_language     text         NOT NULL DEFAULT 'en',
    time_zone              text,
    status                 text         NOT NULL DEFAULT 'active'
        CHECK (status IN ('prospect', 'active', 'inactive', 'blocked', 'deceased', 'merged', 'erased')),
    deceased_on            date,
    identity_verified_at   timestamptz,
    preferred_pharmacy_id  uuid         REFERENCES pharmacies(id),
    primary_provider_id    uuid         REFERENCES providers(id),
    care_owner_id          uuid         REFERENCES staff_users(id),
    height_cm              numeric(5,1) CHECK (height_cm BETWEEN 30 AND 275),
    weight_kg              numeric(5,1) CHECK (weight_kg BETWEEN 1 AND 500),
    stripe_customer_id     text,
    risk_flags             text[]       NOT NULL DEFAULT '{}',
    vip_tier               text,
    care_notes             text,
    attribution            jsonb,
    legacy_id              text         UNIQUE,
    merged_into_patient_id uuid         REFERENCES patients(id),
    edited_at              jsonb        NOT NULL DEFAULT '{}',
    created_at             timestamptz  NOT NULL DEFAULT now(),
    updated_at             timestamptz  NOT NULL DEFAULT now(),
    version                bigint       NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid             xid8         NOT NULL DEFAULT pg_current_xact_id(),
    changed_by             text         NOT NULL DEFAULT current_user,
    deleted_at             timestamptz
);

-- address book
CREATE TABLE patient_addresses (
    id                uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id        uuid        NOT NULL REFERENCES patients(id),
    kind              text        NOT NULL CHECK (kind IN ('shipping', 'billing', 'home', 'work')),
    is_default        boolean     NOT NULL DEFAULT false,
    recipient_name    text,
    line1             text        NOT NULL,
    line2             text,
    city              text        NOT NULL,
    state_code        text,
    postal_code       text,
    country_code      char(2)     NOT NULL DEFAULT 'US',
    phone_e164        text,
    validation_status text        NOT NULL DEFAULT 'unchecked'
        CHECK (validation_status IN ('unchecked', 'valid', 'corrected', 'undeliverable')),
    validated_at      timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    version           bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by        text        NOT NULL DEFAULT current_user,
    deleted_at        timestamptz
);

-- HIPAA, telehealth, SMS consents
CREATE TABLE patient_consents (
    id               uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id       uuid        NOT NULL REFERENCES patients(id),
    consent_type     text        NOT NULL
        CHECK (consent_type IN ('hipaa_npp', 'telehealth', 'sms', 'email_marketing', 'research',
            'credit_card_on_file')),
    document_version text        NOT NULL,
    granted          boolean     NOT NULL,
    granted_at       timestamptz NOT NULL,
    revoked_at       timestamptz CONSTRAINT patient_consents_revoked_at_check CHECK (revoked_at >= granted_at),
    capture_channel  text        NOT NULL DEFAULT 'web' CHECK (capture_channel IN ('web', 'app', 'sms', 'phone', 'import')),
    ip_address       inet,
    user_agent       text,
    document_sha256  char(64),
    edited_at        jsonb       NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    version          bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid       xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by       text        NOT NULL DEFAULT current_user,
    deleted_at       timestamptz
);

-- allergies, incl. explicit "none known"
CREATE TABLE patient_allergies (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id      uuid        NOT NULL REFERENCES patients(id),
    substance       text        NOT NULL,
    code_system     text        CHECK (code_system IN ('rxnorm', 'snomed', 'unii', 'free_text', 'nkda')),
    code            text,
    category        text        CHECK (category IN ('medication', 'food', 'environment', 'biologic')),
    reaction        text,
    severity        text        CHECK (severity IN ('mild', 'moderate', 'severe', 'unknown')),
    clinical_status text        NOT NULL DEFAULT 'active'
        CHECK (clinical_status IN ('active', 'inactive', 'resolved', 'entered_in_error')),
    onset_on        date,
    recorded_by     text        NOT NULL DEFAULT 'patient'
        CHECK (recorded_by IN ('patient', 'provider', 'pharmacy', 'import')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    version         bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by      text        NOT NULL DEFAULT current_user,
    deleted_at      timestamptz
);

-- problem list
CREATE TABLE patient_conditions (
    id               uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id       uuid        NOT NULL REFERENCES patients(id),
    icd10_code       text        CHECK (icd10_code ~ '^[A-Z][0-9][0-9A-Z]([.][0-9A-Z]{1,4})?$'),
    snomed_code      text,
    description      text        NOT NULL,
    clinical_status  text        NOT NULL DEFAULT 'active'
        CHECK (clinical_status IN ('active', 'recurrence', 'relapse', 'inactive', 'remission', 'resolved')),
    verification     text        NOT NULL DEFAULT 'unconfirmed'
        CHECK (verification IN ('unconfirmed', 'provisional', 'confirmed', 'refuted', 'entered_in_error')),
    onset_on         date,
    abated_on        date        CONSTRAINT patient_conditions_abated_on_check CHECK (abated_on >= onset_on),
    is_self_reported boolean     NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    version          bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid       xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by       text        NOT NULL DEFAULT current_user,
    deleted_at       timestamptz
);

-- async/video visits
CREATE TABLE consultations (
    id                  uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    consultation_number text        NOT NULL UNIQUE,
    patient_id          uuid        NOT NULL REFERENCES patients(id),
    provider_id         uuid        REFERENCES providers(id),
    follow_up_of_id     uuid        REFERENCES consultations(id),
    modality            text        NOT NULL CHECK (modality IN ('async', 'video', 'phone', 'chat')),
    vertical            text        NOT NULL,
    status              text        NOT NULL DEFAULT 'requested'
        CHECK (status IN ('requested', 'awaiting_patient', 'scheduled', 'queued', 'in_progress', 'on_hold',
            'completed', 'declined', 'cancelled', 'no_show', 'expired')),
    outcome             text
        CHECK (outcome IN ('prescribed', 'no_treatment', 'referred', 'labs_ordered', 'declined_unsafe')),
    decline_reason      text,
    patient_state_code  char(2),
    scheduled_at        timestamptz,
    started_at          timestamptz,
    ended_at            timestamptz CONSTRAINT consultations_ended_at_check CHECK (ended_at >= started_at),
    sla_due_at          timestamptz,
    video_room_ref      text,
    edited_at           jsonb       NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    version             bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by          text        NOT NULL DEFAULT current_user,
    deleted_at          timestamptz
);

-- questionnaires (jsonb)
CREATE TABLE intake_responses (
    id                     uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id             uuid         NOT NULL REFERENCES patients(id),
    consultation_id        uuid         REFERENCES consultations(id),
    questionnaire_code     text         NOT NULL,
    questionnaire_version  integer      NOT NULL CHECK (questionnaire_version > 0),
    answers                jsonb        NOT NULL DEFAULT '{}',
    answers_hash           char(64),
    bmi                    numeric(4,1),
    contraindication_flags text[]       NOT NULL DEFAULT '{}',
    locale                 text         NOT NULL DEFAULT 'en-US',
    submitted_at           timestamptz,
    created_at             timestamptz  NOT NULL DEFAULT now(),
    updated_at             timestamptz  NOT NULL DEFAULT now(),
    version                bigint       NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid             xid8         NOT NULL DEFAULT pg_current_xact_id(),
    changed_by             text         NOT NULL DEFAULT current_user,
    deleted_at             timestamptz
);

-- signed notes + addenda
CREATE TABLE clinical_notes (
    id                 uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id         uuid        NOT NULL REFERENCES patients(id),
    consultation_id    uuid        REFERENCES consultations(id),
    author_provider_id uuid        REFERENCES providers(id),
    amends_note_id     uuid        REFERENCES clinical_notes(id),
    note_type          text        NOT NULL
        CHECK (note_type IN ('soap', 'progress', 'addendum', 'message_summary', 'phone', 'pharmacist',
            'lab_review')),
    status             text        NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'signed', 'amended', 'entered_in_error')),
    title              text,
    body               text        NOT NULL,
    body_sha256        char(64)    NOT NULL,
    is_sensitive       boolean     NOT NULL DEFAULT false,
    signed_at          timestamptz,
    edited_at          jsonb       NOT NULL DEFAULT '{}',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    version            bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by         text        NOT NULL DEFAULT current_user,
    deleted_at         timestamptz
);

-- treatment plans / refills
CREATE TABLE subscriptions (
    id                     uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    subscription_number    text        NOT NULL UNIQUE,
    patient_id             uuid        NOT NULL REFERENCES patients(id),
    product_id             uuid        NOT NULL REFERENCES products(id),
    status                 text        NOT NULL
        CHECK (status IN ('trialing', 'active', 'past_due', 'paused', 'cancelled', 'ended')),
    requested_action       text        CHECK (requested_action IN ('pause', 'resume', 'cancel', 'skip_next')),
    interval_days          integer     NOT NULL CHECK (interval_days BETWEEN 7 AND 366),
    price_cents            bigint      NOT NULL CHECK (price_cents >= 0),
    currency               char(3)     NOT NULL DEFAULT 'USD',
    current_period_ends_at timestamptz,
    next_order_on          date,
    cancelled_at           timestamptz,
    cancel_reason          text,
    action_result          text,
    edited_at              jsonb       NOT NULL DEFAULT '{}',
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    version                bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by             text        NOT NULL DEFAULT current_user,
    deleted_at             timestamptz
);

-- Rx and e-Rx transmission
CREATE TABLE prescriptions (
    id                  uuid          PRIMARY KEY DEFAULT gen_random_uuid(),
    rx_number           text          NOT NULL UNIQUE,
    patient_id          uuid          NOT NULL REFERENCES patients(id),
    consultation_id     uuid          REFERENCES consultations(id),
    prescriber_id       uuid          NOT NULL REFERENCES providers(id),
    pharmacy_id         uuid          REFERENCES pharmacies(id),
    product_id          uuid          NOT NULL REFERENCES products(id),
    replaces_rx_id      uuid          REFERENCES prescriptions(id),
    drug_description    text          NOT NULL,
    sig                 text          NOT NULL,
    quantity            numeric(10,3) NOT NULL CHECK (quantity > 0),
    quantity_unit       text          NOT NULL,
    days_supply         integer       CHECK (days_supply BETWEEN 1 AND 365),
    refills_allowed     integer       NOT NULL DEFAULT 0 CHECK (refills_allowed BETWEEN 0 AND 99),
    refills_remaining   integer       NOT NULL DEFAULT 0 CHECK (refills_remaining >= 0),
    dispense_as_written boolean       NOT NULL DEFAULT false,
    dx_icd10            text,
    status              text          NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'ready_to_sign', 'active', 'on_hold', 'depleted', 'expired', 'cancelled',
            'replaced', 'entered_in_error')),
    transmission_status text          NOT NULL DEFAULT 'not_sent'
        CHECK (transmission_status IN ('not_sent', 'sending', 'sent', 'fax_sent', 'printed',
            'pharmacy_verified', 'error', 'retracted')),
    erx_message_id      text          UNIQUE,
    erx_error           text,
    written_at          timestamptz   NOT NULL,
    effective_on        date,
    expires_on          date          CONSTRAINT prescriptions_expires_on_check CHECK (expires_on >= effective_on),
    pharmacist_note     text,
    created_at          timestamptz   NOT NULL DEFAULT now(),
    updated_at          timestamptz   NOT NULL DEFAULT now(),
    version             bigint        NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid          xid8          NOT NULL DEFAULT pg_current_xact_id(),
    changed_by          text          NOT NULL DEFAULT current_user,
    deleted_at          timestamptz
);

-- commercial + fulfilment order
CREATE TABLE orders (
    id               uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    order_number     text        NOT NULL UNIQUE,
    patient_id       uuid        NOT NULL REFERENCES patients(id),
    consultation_id  uuid        REFERENCES consultations(id),
    subscription_id  uuid        REFERENCES subscriptions(id),
    pharmacy_id      uuid        REFERENCES pharmacies(id),
    parent_order_id  uuid        REFERENCES orders(id),
    order_type       text        NOT NULL DEFAULT 'new' CHECK (order_type IN ('new', 'refill', 'reship', 'otc', 'lab')),
    channel          text        NOT NULL DEFAULT 'web' CHECK (channel IN ('web', 'app', 'phone', 'api')),
    status           text        NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'pending_payment', 'pending_review', 'on_hold', 'approved', 'routing',
            'placed', 'filling', 'partially_shipped', 'shipped', 'delivered', 'completed', 'declined',
            'cancelled', 'returned', 'error')),
    hold_reason      text,
    requested_action text        CHECK (requested_action IN ('cancel', 'hold', 'release', 'reship', 'expedite')),
    currency         char(3)     NOT NULL DEFAULT 'USD',
    subtotal_cents   bigint      NOT NULL DEFAULT 0 CHECK (subtotal_cents >= 0),
    discount_cents   bigint      NOT NULL DEFAULT 0 CHECK (discount_cents >= 0),
    shipping_cents   bigint      NOT NULL DEFAULT 0 CHECK (shipping_cents >= 0),
    tax_cents        bigint      NOT NULL DEFAULT 0 CHECK (tax_cents >= 0),
    total_cents      bigint      NOT NULL DEFAULT 0
        CONSTRAINT orders_total_cents_check CHECK (total_cents = subtotal_cents - discount_cents +
            shipping_cents + tax_cents),
    promo_code       text,
    placed_at        timestamptz,
    approved_at      timestamptz,
    cancelled_at     timestamptz,
    ship_name        text,
    ship_line1       text,
    ship_line2       text,
    ship_city        text,
    ship_state       text,
    ship_postal_code text,
    ship_country     char(2),
    customer_note    text,
    agent_note       text,
    expected_on      date,
    action_result    text,
    edited_at        jsonb       NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    version          bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid       xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by       text        NOT NULL DEFAULT current_user,
    deleted_at       timestamptz
);

-- lines
CREATE TABLE order_items (
    id                    uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id              uuid        NOT NULL REFERENCES orders(id),
    line_no               integer     NOT NULL CHECK (line_no > 0),
    product_id            uuid        NOT NULL REFERENCES products(id),
    prescription_id       uuid        REFERENCES prescriptions(id),
    product_name_snapshot text        NOT NULL,
    quantity              integer     NOT NULL CHECK (quantity > 0),
    unit_price_cents      bigint      NOT NULL CHECK (unit_price_cents >= 0),
    discount_cents        bigint      NOT NULL DEFAULT 0 CHECK (discount_cents >= 0),
    tax_cents             bigint      NOT NULL DEFAULT 0 CHECK (tax_cents >= 0),
    fill_status           text        NOT NULL DEFAULT 'new'
        CHECK (fill_status IN ('new', 'scheduled', 'sent', 'filling', 'filled', 'cancelled', 'rejected')),
    fill_number           integer     NOT NULL DEFAULT 0 CHECK (fill_number >= 0),
    lot_number            text,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    version               bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by            text        NOT NULL DEFAULT current_user,
    deleted_at            timestamptz,
    CONSTRAINT order_items_line UNIQUE (order_id, line_no)
);

-- intents / charges
CREATE TABLE payments (
    id                    uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id            uuid        NOT NULL REFERENCES patients(id),
    order_id              uuid        REFERENCES orders(id),
    subscription_id       uuid        REFERENCES subscriptions(id),
    processor             text        NOT NULL DEFAULT 'stripe'
        CHECK (processor IN ('stripe', 'hsa_fsa', 'insurance', 'manual', 'credit')),
    processor_ref         text        UNIQUE,
    amount_cents          bigint      NOT NULL CHECK (amount_cents >= 0),
    amount_captured_cents bigint      NOT NULL DEFAULT 0
        CONSTRAINT payments_amount_captured_cents_check CHECK (amount_captured_cents BETWEEN 0 AND
            amount_cents),
    amount_refunded_cents bigint      NOT NULL DEFAULT 0
        CONSTRAINT payments_amount_refunded_cents_check CHECK (amount_refunded_cents BETWEEN 0 AND
            amount_captured_cents),
    currency              char(3)     NOT NULL DEFAULT 'USD',
    status                text        NOT NULL
        CHECK (status IN ('requires_payment_method', 'requires_confirmation', 'requires_action', 'processing',
            'requires_capture', 'succeeded', 'canceled')),
    card_brand            text,
    card_last4            char(4)     CHECK (card_last4 ~ '^[0-9]{4}$'),
    failure_code          text,
    disputed_at           timestamptz,
    captured_at           timestamptz,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    version               bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by            text        NOT NULL DEFAULT current_user,
    deleted_at            timestamptz
);

-- refunds, chargebacks
CREATE TABLE refunds (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    payment_id      uuid        NOT NULL REFERENCES payments(id),
    order_id        uuid        REFERENCES orders(id),
    kind            text        NOT NULL DEFAULT 'refund' CHECK (kind IN ('refund', 'chargeback', 'goodwill')),
    amount_cents    bigint      NOT NULL CHECK (amount_cents > 0),
    currency        char(3)     NOT NULL DEFAULT 'USD',
    reason          text,
    status          text        NOT NULL
        CHECK (status IN ('pending', 'requires_action', 'succeeded', 'failed', 'canceled')),
    processor_ref   text        UNIQUE,
    requested_by_id uuid        REFERENCES staff_users(id),
    settled_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    version         bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by      text        NOT NULL DEFAULT current_user,
    deleted_at      timestamptz
);

-- parcels
CREATE TABLE shipments (
    id                    uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    shipment_number       text        NOT NULL UNIQUE,
    order_id              uuid        NOT NULL REFERENCES orders(id),
    patient_id            uuid        NOT NULL REFERENCES patients(id),
    pharmacy_id           uuid        REFERENCES pharmacies(id),
    return_of_id          uuid        REFERENCES shipments(id),
    carrier               text,
    service_level         text,
    tracking_number       text,
    tracking_url          text,
    status                text        NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'label_created', 'handed_over', 'delivered', 'returned', 'cancelled')),
    tracking_status       text        NOT NULL DEFAULT 'unknown'
        CHECK (tracking_status IN ('unknown', 'pre_transit', 'in_transit', 'out_for_delivery',
            'available_for_pickup', 'delivered', 'return_to_sender', 'failure', 'cancelled', 'error')),
    cost_cents            bigint      CHECK (cost_cents >= 0),
    weight_g              integer     CHECK (weight_g > 0),
    signature_required    boolean     NOT NULL DEFAULT false,
    shipped_at            timestamptz,
    estimated_delivery_on date,
    delivered_at          timestamptz,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    version               bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by            text        NOT NULL DEFAULT current_user,
    deleted_at            timestamptz
);

-- carrier scans (append-only)
CREATE TABLE shipment_events (
    id               uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    shipment_id      uuid        NOT NULL REFERENCES shipments(id),
    occurred_at      timestamptz NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT now(),
    tracking_status  text        NOT NULL,
    status_detail    text,
    message          text,
    city             text,
    state_code       text,
    postal_code      text,
    source_event_key text        NOT NULL UNIQUE,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    version          bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid       xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by       text        NOT NULL DEFAULT current_user,
    deleted_at       timestamptz
);

-- state changes (append-only)
CREATE TABLE order_status_history (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id    uuid        NOT NULL REFERENCES orders(id),
    seq         integer     NOT NULL CHECK (seq > 0),
    from_status text,
    to_status   text        NOT NULL,
    reason      text,
    actor_type  text        NOT NULL
        CHECK (actor_type IN ('system', 'patient', 'staff', 'provider', 'pharmacy', 'carrier', 'salesforce')),
    actor_id    uuid        REFERENCES staff_users(id),
    occurred_at timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    version     bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid  xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by  text        NOT NULL DEFAULT current_user,
    deleted_at  timestamptz,
    CONSTRAINT order_status_history_seq UNIQUE (order_id, seq)
);

-- tickets
CREATE TABLE support_cases (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    case_number     text        NOT NULL UNIQUE,
    patient_id      uuid        REFERENCES patients(id),
    order_id        uuid        REFERENCES orders(id),
    prescription_id uuid        REFERENCES prescriptions(id),
    parent_case_id  uuid        REFERENCES support_cases(id),
    owner_id        uuid        REFERENCES staff_users(id),
    category        text        NOT NULL
        CHECK (category IN ('delivery', 'billing', 'clinical_question', 'adverse_event', 'technical',
            'privacy_request', 'other')),
    priority        text        NOT NULL DEFAULT 'medium' CHECK (priority IN ('low', 'medium', 'high', 'urgent')),
    status          text        NOT NULL DEFAULT 'new'
        CHECK (status IN ('new', 'open', 'pending_patient', 'pending_pharmacy', 'escalated', 'resolved',
            'closed')),
    origin          text        NOT NULL DEFAULT 'email'
        CHECK (origin IN ('email', 'phone', 'chat', 'sms', 'web', 'system')),
    subject         text        NOT NULL,
    description     text,
    resolution      text,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz CONSTRAINT support_cases_closed_at_check CHECK (closed_at >= opened_at),
    edited_at       jsonb       NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    version         bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by      text        NOT NULL DEFAULT current_user,
    deleted_at      timestamptz
);

-- email, SMS, chat, call, push
CREATE TABLE communications (
    id                  uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id          uuid        REFERENCES patients(id),
    case_id             uuid        REFERENCES support_cases(id),
    order_id            uuid        REFERENCES orders(id),
    staff_user_id       uuid        REFERENCES staff_users(id),
    channel             text        NOT NULL CHECK (channel IN ('email', 'sms', 'chat', 'voice', 'push', 'portal')),
    direction           text        NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    thread_key          text,
    from_address        text,
    to_address          text,
    subject             text,
    body_text           text,
    body_html           text,
    body_sha256         char(64)    NOT NULL,
    template_code       text,
    delivery_status     text        NOT NULL
        CHECK (delivery_status IN ('queued', 'sent', 'delivered', 'opened', 'bounced', 'failed', 'received')),
    attachment_count    integer     NOT NULL DEFAULT 0 CHECK (attachment_count >= 0),
    provider_message_id text        UNIQUE,
    sent_at             timestamptz NOT NULL,
    edited_at           jsonb       NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    version             bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    change_xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_by          text        NOT NULL DEFAULT current_user,
    deleted_at          timestamptz
);

-- Change feeds and sweeps read every table by these two.
CREATE INDEX staff_users_changes ON staff_users (change_xid, id);
CREATE INDEX staff_users_updated ON staff_users (updated_at, id);
CREATE INDEX pharmacies_changes ON pharmacies (change_xid, id);
CREATE INDEX pharmacies_updated ON pharmacies (updated_at, id);
CREATE INDEX providers_changes ON providers (change_xid, id);
CREATE INDEX providers_updated ON providers (updated_at, id);
CREATE INDEX products_changes ON products (change_xid, id);
CREATE INDEX products_updated ON products (updated_at, id);
CREATE INDEX patients_changes ON patients (change_xid, id);
CREATE INDEX patients_updated ON patients (updated_at, id);
CREATE INDEX patient_addresses_changes ON patient_addresses (change_xid, id);
CREATE INDEX patient_addresses_updated ON patient_addresses (updated_at, id);
CREATE INDEX patient_consents_changes ON patient_consents (change_xid, id);
CREATE INDEX patient_consents_updated ON patient_consents (updated_at, id);
CREATE INDEX patient_allergies_changes ON patient_allergies (change_xid, id);
CREATE INDEX patient_allergies_updated ON patient_allergies (updated_at, id);
CREATE INDEX patient_conditions_changes ON patient_conditions (change_xid, id);
CREATE INDEX patient_conditions_updated ON patient_conditions (updated_at, id);
CREATE INDEX consultations_changes ON consultations (change_xid, id);
CREATE INDEX consultations_updated ON consultations (updated_at, id);
CREATE INDEX intake_responses_changes ON intake_responses (change_xid, id);
CREATE INDEX intake_responses_updated ON intake_responses (updated_at, id);
CREATE INDEX clinical_notes_changes ON clinical_notes (change_xid, id);
CREATE INDEX clinical_notes_updated ON clinical_notes (updated_at, id);
CREATE INDEX subscriptions_changes ON subscriptions (change_xid, id);
CREATE INDEX subscriptions_updated ON subscriptions (updated_at, id);
CREATE INDEX prescriptions_changes ON prescriptions (change_xid, id);
CREATE INDEX prescriptions_updated ON prescriptions (updated_at, id);
CREATE INDEX orders_changes ON orders (change_xid, id);
CREATE INDEX orders_updated ON orders (updated_at, id);
CREATE INDEX order_items_changes ON order_items (change_xid, id);
CREATE INDEX order_items_updated ON order_items (updated_at, id);
CREATE INDEX payments_changes ON payments (change_xid, id);
CREATE INDEX payments_updated ON payments (updated_at, id);
CREATE INDEX refunds_changes ON refunds (change_xid, id);
CREATE INDEX refunds_updated ON refunds (updated_at, id);
CREATE INDEX shipments_changes ON shipments (change_xid, id);
CREATE INDEX shipments_updated ON shipments (updated_at, id);
CREATE INDEX shipment_events_changes ON shipment_events (change_xid, id);
CREATE INDEX shipment_events_updated ON shipment_events (updated_at, id);
CREATE INDEX order_status_history_changes ON order_status_history (change_xid, id);
CREATE INDEX order_status_history_updated ON order_status_history (updated_at, id);
CREATE INDEX support_cases_changes ON support_cases (change_xid, id);
CREATE INDEX support_cases_updated ON support_cases (updated_at, id);
CREATE INDEX communications_changes ON communications (change_xid, id);
CREATE INDEX communications_updated ON communications (updated_at, id);

-- One live default of a kind per patient.
CREATE UNIQUE INDEX patient_addresses_default ON patient_addresses (patient_id, kind) WHERE is_default AND deleted_at IS NULL;

-- People are looked for by these; an e-mail address is shared by families and not unique.
CREATE INDEX patients_email ON patients (lower(email));
CREATE INDEX patients_phone ON patients (phone_e164);
CREATE INDEX patients_birth ON patients (last_name, date_of_birth);

-- Children of a parent (merges re-point them; actions walk along them).
CREATE INDEX patients_merged_into_patient_id ON patients (merged_into_patient_id) WHERE merged_into_patient_id IS NOT NULL;
CREATE INDEX patient_addresses_patient_id ON patient_addresses (patient_id);
CREATE INDEX patient_consents_patient_id ON patient_consents (patient_id);
CREATE INDEX patient_allergies_patient_id ON patient_allergies (patient_id);
CREATE INDEX patient_conditions_patient_id ON patient_conditions (patient_id);
CREATE INDEX consultations_patient_id ON consultations (patient_id);
CREATE INDEX consultations_follow_up_of_id ON consultations (follow_up_of_id) WHERE follow_up_of_id IS NOT NULL;
CREATE INDEX intake_responses_patient_id ON intake_responses (patient_id);
CREATE INDEX intake_responses_consultation_id ON intake_responses (consultation_id) WHERE consultation_id IS NOT NULL;
CREATE INDEX clinical_notes_patient_id ON clinical_notes (patient_id);
CREATE INDEX clinical_notes_consultation_id ON clinical_notes (consultation_id) WHERE consultation_id IS NOT NULL;
CREATE INDEX subscriptions_patient_id ON subscriptions (patient_id);
CREATE INDEX prescriptions_patient_id ON prescriptions (patient_id);
CREATE INDEX prescriptions_consultation_id ON prescriptions (consultation_id) WHERE consultation_id IS NOT NULL;
CREATE INDEX prescriptions_replaces_rx_id ON prescriptions (replaces_rx_id) WHERE replaces_rx_id IS NOT NULL;
CREATE INDEX orders_patient_id ON orders (patient_id);
CREATE INDEX orders_consultation_id ON orders (consultation_id) WHERE consultation_id IS NOT NULL;
CREATE INDEX orders_subscription_id ON orders (subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX orders_parent_order_id ON orders (parent_order_id) WHERE parent_order_id IS NOT NULL;
CREATE INDEX order_items_prescription_id ON order_items (prescription_id) WHERE prescription_id IS NOT NULL;
CREATE INDEX payments_patient_id ON payments (patient_id);
CREATE INDEX payments_order_id ON payments (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX payments_subscription_id ON payments (subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX refunds_payment_id ON refunds (payment_id);
CREATE INDEX refunds_order_id ON refunds (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX shipments_order_id ON shipments (order_id);
CREATE INDEX shipments_patient_id ON shipments (patient_id);
CREATE INDEX shipments_return_of_id ON shipments (return_of_id) WHERE return_of_id IS NOT NULL;
CREATE INDEX shipment_events_shipment_id ON shipment_events (shipment_id);
CREATE INDEX support_cases_patient_id ON support_cases (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX support_cases_order_id ON support_cases (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX support_cases_prescription_id ON support_cases (prescription_id) WHERE prescription_id IS NOT NULL;
CREATE INDEX support_cases_parent_case_id ON support_cases (parent_case_id) WHERE parent_case_id IS NOT NULL;
CREATE INDEX communications_patient_id ON communications (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX communications_case_id ON communications (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX communications_order_id ON communications (order_id) WHERE order_id IS NOT NULL;
