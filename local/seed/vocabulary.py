"""What seeded rows are made of: plain, and as ugly as real data. Written for this project; all people are invented."""

from __future__ import annotations

FIRST_NAMES = [
    "Maria", "James", "Aisha", "Wei", "Olivia", "Liam", "Noah", "Emma", "Ava", "Sophia", "Mateo", "Lucas", "Mia", "Amelia", "Ethan",
    "Harper", "Elijah", "Luna", "Kai", "Zoe", "Ruth", "Walter", "Gloria", "Hector", "Priya", "Arjun", "Fatima", "Omar", "Yuki",
    "Hiro", "Nadia", "Igor", "Svetlana", "Pierre", "Chantal", "Ngozi", "Kwame", "Thandiwe", "Bjorn", "Astrid", "Dmitri", "Leila",
    "Samir", "Rosa", "Pablo", "Ines", "Joao", "Bianca", "Hannah", "Caleb", "Dorothy", "Earl", "Mabel", "Clifton", "Tamika", "DeShawn",
    "Xiomara", "Guadalupe", "Siobhan", "Niamh",
]  # fmt: skip
UGLY_FIRST_NAMES = ["José", "Zoë", "Đặng Thị", "Łukasz", "Søren", "Анна", "محمد", "さくら", "小明", "Mary-Jane 'MJ'", "D'Andre", "Renée 🙂",
                    "Nguye\u0302\u0303n", " Anna", "ANNA MARIA", "x"]  # fmt: skip
LAST_NAMES = [
    "Smith", "Johnson", "Nguyen", "Garcia", "Martinez", "Kim", "Patel", "Brown", "Davis", "Lopez", "Wilson", "Anderson", "Thomas",
    "Jackson", "Lee", "Harris", "Clark", "Lewis", "Walker", "Young", "King", "Wright", "Scott", "Torres", "Hill", "Green", "Baker",
    "Adams", "Nelson", "Rivera", "Campbell", "Mitchell", "Roberts", "Okafor", "Mensah", "Haddad", "Cohen", "Rossi", "Kowalski",
    "Andersson", "Ivanova", "Tanaka", "Sato", "Chen", "Wang", "Singh", "Khan", "Silva", "Costa", "Dubois", "Moreau", "Schmidt",
    "Weber", "Novak", "Horvat", "Papadopoulos",
]  # fmt: skip
UGLY_LAST_NAMES = ["O'Brien", "Müller-Lüdenscheidt", "van der Berg", "de la Cruz y Ñuñez", "Šťastný", "الحسن", "王", "МАЗЕПА", "St. John",
                   "Null", "Test ", "McDonald / Meyer", "Ó Súilleabháin", "Begum\u200b", "İnönü", "Ng"]  # fmt: skip
SUFFIXES = ["Jr.", "Sr.", "II", "III", "IV", "MD"]

#: city, state, ZIP's first three digits, time zone
PLACES = [
    ("Austin", "TX", "787", "America/Chicago"), ("Houston", "TX", "770", "America/Chicago"), ("Brooklyn", "NY", "112", "America/New_York"),
    ("Buffalo", "NY", "142", "America/New_York"), ("Miami", "FL", "331", "America/New_York"), ("Orlando", "FL", "328", "America/New_York"),
    ("Los Angeles", "CA", "900", "America/Los_Angeles"), ("San José", "CA", "951", "America/Los_Angeles"),
    ("Cañon City", "CO", "812", "America/Denver"), ("Denver", "CO", "802", "America/Denver"), ("Phoenix", "AZ", "850", "America/Phoenix"),
    ("Seattle", "WA", "981", "America/Los_Angeles"), ("Portland", "OR", "972", "America/Los_Angeles"),
    ("Chicago", "IL", "606", "America/Chicago"), ("Springfield", "IL", "627", "America/Chicago"), ("Boston", "MA", "021", "America/New_York"),
    ("Lincoln", "NE", "685", "America/Chicago"), ("Omaha", "NE", "681", "America/Chicago"), ("Atlanta", "GA", "303", "America/New_York"),
    ("Newark", "NJ", "071", "America/New_York"), ("Philadelphia", "PA", "191", "America/New_York"), ("Detroit", "MI", "482", "America/Detroit"),
    ("Nashville", "TN", "372", "America/Chicago"), ("Truth or Consequences", "NM", "879", "America/Denver"),
    ("Honolulu", "HI", "968", "Pacific/Honolulu"), ("Anchorage", "AK", "995", "America/Anchorage"), ("San Juan", "PR", "009", "America/Puerto_Rico"),
]  # fmt: skip
STATES = sorted({state for _, state, _, _ in PLACES} - {"PR"})
STREETS = ["Main St", "Oak Avenue", "Maple Dr", "2nd Street NE", "Elm Ct.", "Martin Luther King Jr Blvd", "Calle Ocho", "Rue de l’Église",
           "Cañada Rd", "Highway 61", "Übersee Ln", "County Rd 1200 E", "St. Mary's Way", "Peachtree Pl NW"]  # fmt: skip
SECOND_LINES = ["Apt 4B", "Unit 12", "Ste 300", "# 7", "c/o Front Desk", "Bldg 3, 2nd floor", "Leave at side door ☔", "PO Box 118"]

EMAIL_DOMAINS = ["example.com", "example.org", "example.net", "mail.example.com"]
LEGACY_EMAILS = ["none", "n/a", "unknown@", "@example.com", "jane doe@example.com", "jane@@example.com", "jane@example", "jane@example..com",
                 "no email", "decline", "jane@example.com; joe@example.com", "mailto:jane@example.com"]  # fmt: skip
RAW_PHONES = ["({0}) {1}-{2}", "{0}-{1}-{2}", "{0}.{1}.{2}", "1 {0} {1} {2}", "+1{0}{1}{2}", "{0}{1}{2}", "{1}-{2}", "{0}-{1}-{2} x118",
              "({0}){1}-{2} (mother)", "0", "unknown", "same as above", "00{0}{1}{2}"]  # fmt: skip
RISK_FLAGS = ["pregnancy", "cardiac", "hypertension", "diabetes", "renal", "hepatic", "drug_interaction", "fall_risk", "fraud", "minor"]
INTAKE_FLAGS = ["pregnancy", "cardiac", "hypertension", "diabetes", "thyroid", "pancreatitis", "gallbladder", "allergy", "age", "bmi"]
SOURCES = ["google", "meta", "friend", "podcast", "radio", "tiktok", "employer", "", "Überweisung", "billboard I-95"]
USER_AGENTS = ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X)", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "okhttp/4.12", ""]

#: substance, code system, code, category
ALLERGENS = [
    ("No known drug allergies", "nkda", None, None), ("No known drug allergies", "nkda", None, None),
    ("Penicillin", "rxnorm", "7980", "medication"), ("Sulfonamide antibiotics", "snomed", "387406002", "medication"),
    ("Peanut", "snomed", "256349002", "food"), ("Latex", "snomed", "111088007", "environment"), ("Bee venom", "snomed", "288328004", "environment"),
    ("eggs?? (mother says)", "free_text", None, None), ("Insulin, porcine", "unii", "M6LNJ84P2A", "biologic"), ("grass / pollen", None, None, "environment"),
]  # fmt: skip
REACTIONS = ["Hives", "Anaphylaxis", "Rash; itching", "Nausea", "throat swelling – ER 2019", "unknown"]
#: ICD-10, SNOMED, description
CONDITIONS = [
    ("E66.9", "414916001", "Obesity, unspecified"), ("E11.9", "44054006", "Type 2 diabetes mellitus without complications"),
    ("I10", "38341003", "Essential (primary) hypertension"), ("L70.0", "88616000", "Acne vulgaris"), ("L65.9", "278040002", "Nonscarring hair loss"),
    ("F41.1", "21897009", "Generalized anxiety disorder"), ("F32.A", "35489007", "Depression, unspecified"), ("N52.9", "860914002", "Erectile dysfunction"),
    ("G47.00", "193462001", "Insomnia, unspecified"), ("J30.2", "367498001", "Seasonal allergic rhinitis"), ("E78.5", "55822004", "Hyperlipidemia"),
    (None, None, "bad knee since \"the accident\""), (None, "69896004", "Rheumatoid arthritis"), ("E28.2", "237055002", "Polycystic ovarian syndrome"),
]  # fmt: skip
VERTICALS = ["weight", "derm", "hair", "mental_health", "sexual_health", "womens_health", "mens_health", "primary_care", "sleep", "allergy",
             "cardiometabolic", "longevity"]  # fmt: skip

#: name, RxNorm, strengths, dose form, unit, vertical, DEA schedule, cold chain, cents
DRUGS = [
    ("Semaglutide", "1991302", ("0.25 mg", "0.5 mg", "1 mg", "1.7 mg", "2.4 mg"), "injection", "pen", "weight", "none", True, 29900),
    ("Tirzepatide", "2601723", ("2.5 mg", "5 mg", "7.5 mg", "10 mg"), "injection", "pen", "weight", "none", True, 39900),
    ("Phentermine", "8152", ("15 mg", "30 mg", "37.5 mg"), "capsule", "capsule", "weight", "IV", False, 4900),
    ("Metformin", "6809", ("500 mg", "850 mg", "1000 mg"), "tablet", "tablet", "cardiometabolic", "none", False, 1200),
    ("Tretinoin", "10753", ("0.025 %", "0.05 %", "0.1 %"), "cream", "tube", "derm", "none", False, 5900),
    ("Spironolactone", "9997", ("25 mg", "50 mg", "100 mg"), "tablet", "tablet", "derm", "none", False, 2500),
    ("Finasteride", "25025", ("1 mg", "5 mg"), "tablet", "tablet", "hair", "none", False, 2200),
    ("Minoxidil", "6984", ("2.5 mg", "5 mg"), "tablet", "tablet", "hair", "none", False, 2400),
    ("Sertraline", "36437", ("25 mg", "50 mg", "100 mg"), "tablet", "tablet", "mental_health", "none", False, 1500),
    ("Bupropion XL", "42347", ("150 mg", "300 mg"), "tablet", "tablet", "mental_health", "none", False, 1900),
    ("Sildenafil", "136411", ("25 mg", "50 mg", "100 mg"), "tablet", "tablet", "sexual_health", "none", False, 3000),
    ("Tadalafil", "358263", ("2.5 mg", "5 mg", "20 mg"), "tablet", "tablet", "mens_health", "none", False, 3200),
    ("Testosterone cypionate", "835829", ("100 mg/mL", "200 mg/mL"), "injection", "vial", "mens_health", "III", False, 8900),
    ("Estradiol", "4083", ("0.5 mg", "1 mg", "2 mg"), "patch", "patch", "womens_health", "none", False, 4200),
    ("Trazodone", "10737", ("50 mg", "100 mg"), "tablet", "tablet", "sleep", "none", False, 1400),
    ("Montelukast", "88249", ("5 mg", "10 mg"), "tablet", "tablet", "allergy", "none", False, 1600),
    ("Lisinopril", "29046", ("10 mg", "20 mg", "40 mg"), "tablet", "tablet", "primary_care", "none", False, 900),
    ("Naltrexone", "7243", ("1.5 mg", "4.5 mg"), "capsule", "capsule", "longevity", "none", False, 5500),
]  # fmt: skip
#: name, product type, unit, cents
OTHER_PRODUCTS = [
    ("Sharps container", "supply", "each", 900), ("Alcohol prep pads", "supply", "box", 500), ("Digital scale", "supply", "each", 3900),
    ("Vitamin D3 2000 IU", "otc", "bottle", 1500), ("Gentle cleanser", "otc", "bottle", 1800), ("Minoxidil 5 % foam", "otc", "bottle", 2900),
    ("Magnesium glycinate", "otc", "bottle", 2100), ("Metabolic panel kit", "lab_kit", "kit", 9900), ("Hormone panel kit", "lab_kit", "kit", 14900),
    ("Video visit", "service", "visit", 4900), ("Async visit", "service", "visit", 2900), ("Membership", "membership", "month", 3900),
]  # fmt: skip
SIGS = ["Take 1 tablet by mouth daily", "Inject once weekly under the skin; rotate sites", "Apply a pea-sized amount nightly",
        "Take 1 tablet by mouth as needed, max 1/day", "1 capsule po qAM 30 min before breakfast", "Tome 1 tableta cada día"]  # fmt: skip
DECLINE_REASONS = [
    "BMI below threshold",
    "Pregnant or breastfeeding",
    "Uncontrolled blood pressure",
    "Needs in-person exam",
    "Drug interaction",
]
HOLD_REASONS = ["identity_photo", "copay", "prior_authorization", "clinical_question", "address", "inventory", "payment", "fraud_review",
                "patient_request", "agent_request", "other"]  # fmt: skip
CANCEL_REASONS = ["too_expensive", "side_effects", "not_effective", "goal_reached", "switched_provider", "pregnancy", "moved", "payment_failed",
                  "duplicate", "clinical_decision", "no_longer_needed", "other"]  # fmt: skip
REFUND_REASONS = [
    "requested_by_customer",
    "duplicate",
    "fraudulent",
    "cancelled",
    "damaged",
    "lost",
    "delayed",
    "wrong_item",
    "pricing",
    "other",
]
CARRIERS = [("usps", "Ground Advantage", "https://tools.usps.example/track?n="), ("ups", "2nd Day Air", "https://ups.example/track?n="),
            ("fedex", "Priority Overnight", "https://fedex.example/track?n="), ("ontrac", "Ground", "https://ontrac.example/track?n=")]  # fmt: skip
CUSTOMER_NOTES = [
    "Please leave at back door",
    "Dog bites!! 🐕",
    "Ring bell\n2nd floor",
    "Is this safe with ibuprofen?",
    "Entregar al vecino si no estoy",
]

SENTENCES = [
    "Patient reports good tolerance since the last dose.", "Denies chest pain, shortness of breath, or syncope.", "Weight down 2.3 kg in 4 weeks.",
    "BP 128/82 at home; asks about timing of doses.", "Mild nausea for two days after each titration – resolved with smaller meals.",
    "No history of pancreatitis, MEN2 or medullary thyroid carcinoma.", "Temp 37.0 °C, SpO₂ ≥ 97 %.", "Advised to call 911 for severe symptoms.",
    "Risks, benefits and alternatives were discussed; patient agrees.", "Refiere dolor de cabeza leve.", "Photos reviewed: comedones, grade II.",
    "Sleep improved from 5 h to about 7 h.", "Will re-check labs in 12 weeks (CMP, A1c, lipid panel).", "Medication list reconciled.",
    "PHQ-9 = 6, GAD-7 = 4; no SI/HI.", "Continue current plan.", "Increase to the next dose if tolerated.", "Follow-up in 4–6 weeks via portal.",
]  # fmt: skip
SUBJECTS = {
    "delivery": ["Package says delivered but it isn't here", "Address change", "Where is my order?", "Arrived warm"],
    "billing": ["Charged twice", "HSA receipt", "Refund status", "Card expired"],
    "clinical_question": ["Side effects after 2nd dose", "Can I take it with alcohol?", "Missed a dose"],
    "adverse_event": ["Severe vomiting", "Rash after starting"],
    "technical": ["Can't log in", "App crashes on upload 📷", "Verification code never arrives"],
    "privacy_request": ["Delete my data", "Copy of my records"],
    "other": ["Thank you!", "(no subject)", "FW: FW: re: question"],
}  # fmt: skip
MESSAGES = ["Hi, any update?", "Thanks, got it 👍", "Your refill is on its way.", "Please complete your check-in.", "STOP", "Is my visit still at 3?",
            "We received your photos.", "Gracias!", "Your provider left you a message in the portal."]  # fmt: skip
TEMPLATES = [
    "order_confirmed",
    "order_shipped",
    "order_delivered",
    "refill_reminder",
    "visit_reminder",
    "welcome",
    "payment_failed",
    "check_in",
]
