"""What a model shows of itself when somebody prints or logs it."""

from schemas.invocation import InvocationRequest
from schemas.vault import Boxed, Release


def test_a_model_that_holds_a_credential_does_not_show_it() -> None:
    """INVARIANT: neither `repr` nor `str` of a message shows the credential in it; the scrubbing of log lines knows tokens and no API key.

    Broken by a field that is shown as every other.
    """
    held = [
        Boxed(name="flux", type="api_key", hosts=("api.example",), value="sk-live-SECRET"),
        Release(token="a.b.SECRET", tool="crm", box_key="A" * 43),
        InvocationRequest(request="a.b.c", svid="a.b.SECRET", parent_token="a.b.SECRET", user_token="a.b.SECRET"),
    ]
    assert not [type(one).__name__ for one in held if "SECRET" in f"{one!r}{one}"]
