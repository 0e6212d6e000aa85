"""Names that people type for US states and for the United States, and their codes."""

from __future__ import annotations

_STATES = """
AL Alabama|AK Alaska|AZ Arizona|AR Arkansas|CA California|CO Colorado|CT Connecticut|DE Delaware|DC District of Columbia|FL Florida
GA Georgia|HI Hawaii|ID Idaho|IL Illinois|IN Indiana|IA Iowa|KS Kansas|KY Kentucky|LA Louisiana|ME Maine|MD Maryland|MA Massachusetts
MI Michigan|MN Minnesota|MS Mississippi|MO Missouri|MT Montana|NE Nebraska|NV Nevada|NH New Hampshire|NJ New Jersey|NM New Mexico
NY New York|NC North Carolina|ND North Dakota|OH Ohio|OK Oklahoma|OR Oregon|PA Pennsylvania|RI Rhode Island|SC South Carolina
SD South Dakota|TN Tennessee|TX Texas|UT Utah|VT Vermont|VA Virginia|WA Washington|WV West Virginia|WI Wisconsin|WY Wyoming
AS American Samoa|GU Guam|MP Northern Mariana Islands|PR Puerto Rico|VI U.S. Virgin Islands
"""
#: casefolded name or code -> code
STATES: dict[str, str] = {}
for _pair in _STATES.strip().replace("\n", "|").split("|"):
    _code, _, _name = _pair.partition(" ")
    STATES[_code.casefold()] = STATES[_name.casefold()] = _code
#: the codes alone, in order
STATE_CODES = tuple(sorted(set(STATES.values())))

COUNTRIES = dict.fromkeys(("us", "usa", "u.s.", "u.s.a.", "united states", "united states of america"), "US")
