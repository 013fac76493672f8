"""SAML assertions as subject tokens: RFC 8693 section 3 (`saml1`, `saml2`), by the processing rules of RFC 7522 section 3.

`signed`: from base64url to the element that a provider of the facts signed.  `saml1`, `saml2`: what an assertion of that version says.
`assertion`: whether it says it to us, now.  Imported when the first assertion comes: lxml and signxml cost 45 ms and 8 MiB (measured),
which a fabric without SAML does not pay.
"""
