"""Is metadata valid by Salesforce's own schema (metadata.wsdl, API 63.0, shipped in simple-salesforce)?

A DX project splits an object: `X.field-meta.xml` is a CustomField, `X.validationRule-meta.xml` a ValidationRule, and so on.
The schema declares them as types only, so each gets an element of its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import simple_salesforce
from lxml import etree

from ops.salesforce.xml import NAMESPACE

_XS = "{http://www.w3.org/2001/XMLSchema}"


@cache
def schema() -> etree.XMLSchema:
    """Salesforce's schema with an element for every type."""
    wsdl = etree.parse(Path(simple_salesforce.__file__).with_name("metadata.wsdl"))
    node = next(element for element in wsdl.iter(_XS + "schema") if element.get("targetNamespace") == NAMESPACE)
    node = etree.fromstring(etree.tostring(node))
    declared = {element.get("name") for element in node.findall(_XS + "element")}
    for name in sorted({str(t.get("name")) for t in node.iter(_XS + "complexType") if t.get("name")} - declared):
        element = etree.SubElement(node, _XS + "element")
        element.set("name", name)
        element.set("type", f"tns:{name}")
    return etree.XMLSchema(node)


def faults(paths: Iterable[Path]) -> Iterator[str]:
    """`file:line: what the schema expected`, for every file that is not valid. The order of elements counts."""
    for path in paths:
        try:
            document = etree.parse(path)
        except etree.XMLSyntaxError as error:
            yield f"{path}: not well-formed: {error}"
            continue
        if not schema().validate(document):
            yield from (f"{path}:{error.line}: {error.message}" for error in schema().error_log)
