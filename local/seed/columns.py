"""The columns of every table in the order in which seeded rows give them, the six common ones last; parents before children."""

from __future__ import annotations

_COMMON = "created_at updated_at version change_xid changed_by deleted_at"

COLUMNS: dict[str, tuple[str, ...]] = {
    table: tuple(f"id {own} {_COMMON}".split())
    for table, own in {
        "staff_users": "employee_no full_name email role time_zone sso_subject is_active",
        "pharmacies": "name ncpdp_id npi pharmacy_type phone fax line1 line2 city state_code postal_code country_code ships_to_states "
        "accepts_erx time_zone sla_hours is_active",
        "providers": "staff_user_id npi first_name last_name credentials specialty email phone dea_number licensed_states "
        "license_expires_on time_zone is_active",
        "products": "sku name product_type rxnorm_code ndc11 strength dose_form dea_schedule requires_prescription cold_chain "
        "list_price_cents unit_of_measure description replaced_by_product_id is_active",
        "patients": "patient_number first_name middle_name last_name suffix preferred_name date_of_birth sex_at_birth gender_identity "
        "pronouns email email_verified_at phone_e164 phone_raw sms_opt_in marketing_opt_in preferred_language time_zone status deceased_on "
        "identity_verified_at preferred_pharmacy_id primary_provider_id care_owner_id height_cm weight_kg stripe_customer_id risk_flags "
        "vip_tier care_notes attribution legacy_id merged_into_patient_id edited_at",
        "patient_addresses": "patient_id kind is_default recipient_name line1 line2 city state_code postal_code country_code phone_e164 "
        "validation_status validated_at",
        "patient_consents": "patient_id consent_type document_version granted granted_at revoked_at capture_channel ip_address user_agent "
        "document_sha256 edited_at",
        "patient_allergies": "patient_id substance code_system code category reaction severity clinical_status onset_on recorded_by",
        "patient_conditions": "patient_id icd10_code snomed_code description clinical_status verification onset_on abated_on is_self_reported",
        "consultations": "consultation_number patient_id provider_id follow_up_of_id modality vertical status outcome decline_reason "
        "patient_state_code scheduled_at started_at ended_at sla_due_at video_room_ref edited_at",
        "intake_responses": "patient_id consultation_id questionnaire_code questionnaire_version answers answers_hash bmi "
        "contraindication_flags locale submitted_at",
        "clinical_notes": "patient_id consultation_id author_provider_id amends_note_id note_type status title body body_sha256 is_sensitive "
        "signed_at edited_at",
        "subscriptions": "subscription_number patient_id product_id status interval_days price_cents current_period_ends_at next_order_on "
        "cancelled_at cancel_reason edited_at",
        "prescriptions": "rx_number patient_id consultation_id prescriber_id pharmacy_id product_id replaces_rx_id drug_description sig "
        "quantity quantity_unit days_supply refills_allowed refills_remaining dispense_as_written dx_icd10 status transmission_status "
        "erx_message_id erx_error written_at effective_on expires_on pharmacist_note",
        "orders": "order_number patient_id consultation_id subscription_id pharmacy_id parent_order_id order_type channel status hold_reason "
        "subtotal_cents discount_cents shipping_cents tax_cents total_cents promo_code placed_at approved_at cancelled_at ship_name "
        "ship_line1 ship_line2 ship_city ship_state ship_postal_code ship_country customer_note agent_note expected_on edited_at",
        "order_items": "order_id line_no product_id prescription_id product_name_snapshot quantity unit_price_cents discount_cents tax_cents "
        "fill_status fill_number lot_number",
        "payments": "patient_id order_id subscription_id processor processor_ref amount_cents amount_captured_cents amount_refunded_cents "
        "status card_brand card_last4 failure_code disputed_at captured_at",
        "refunds": "payment_id order_id kind amount_cents reason status processor_ref requested_by_id settled_at",
        "shipments": "shipment_number order_id patient_id pharmacy_id return_of_id carrier service_level tracking_number tracking_url status "
        "tracking_status cost_cents weight_g signature_required shipped_at estimated_delivery_on delivered_at",
        "shipment_events": "shipment_id occurred_at received_at tracking_status status_detail message city state_code postal_code "
        "source_event_key",
        "order_status_history": "order_id seq from_status to_status reason actor_type actor_id occurred_at",
        "support_cases": "case_number patient_id order_id prescription_id parent_case_id owner_id category priority status origin subject "
        "description resolution opened_at closed_at edited_at",
        "communications": "patient_id case_id order_id staff_user_id channel direction thread_key from_address to_address subject body_text "
        "body_html body_sha256 template_code delivery_status attachment_count provider_message_id sent_at edited_at",
    }.items()
}
TABLES = tuple(COLUMNS)

#: rows per patient; the first four tables are fixed
FIXED = {"staff_users": 120, "pharmacies": 60, "providers": 250, "products": 400}
RATIOS = {
    "patients": 1.0, "patient_addresses": 1.3, "patient_consents": 2.5, "patient_allergies": 0.45, "patient_conditions": 1.2,
    "consultations": 1.6, "intake_responses": 1.8, "clinical_notes": 2.6, "subscriptions": 0.8, "prescriptions": 1.9, "orders": 3.2,
    "order_items": 4.1, "payments": 3.9, "refunds": 0.18, "shipments": 2.9, "shipment_events": 17.0, "order_status_history": 21.0,
    "support_cases": 0.6, "communications": 14.0,
}  # fmt: skip
