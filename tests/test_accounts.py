"""Accounts: sign up, log in and out, passwords, tokens and deletion; earlier drawings join the account."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.authtoken.models import Token

from hdr_site.mail import parse_mail_url
from recognizer import submissions
from recognizer.models import Correction, Submission
from tests.conftest import Visitor, forget_counts, main_of
from tests.drawings import THREE
from web.rates import Rate

pytestmark = pytest.mark.django_db

PASSWORD = "ruled paper 28"


def send(visitor: Visitor, address: str, **fields: str) -> Any:
    """Open a page, fill its form in and send it, as a browser does."""
    refresh(visitor, address)
    return visitor.post(address, {"csrfmiddlewaretoken": visitor.csrf, **fields}, follow=True)


def refresh(visitor: Visitor, address: str = "/") -> None:
    """Update the CSRF token from a page: logging in changes it."""
    page = visitor.get(address).content.decode()
    if found := re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page):
        visitor.csrf = found[1]


def sign_up(visitor: Visitor, name: str = "ada", **fields: str) -> Any:
    fields = {"username": name, "password1": PASSWORD, "password2": PASSWORD} | fields
    return send(visitor, "/account/signup", **fields)


def log_in(visitor: Visitor, name: str = "ada", password: str = PASSWORD, address: str = "/account/login") -> Any:
    return send(visitor, address, username=name, password=password)


def log_out(visitor: Visitor) -> None:
    refresh(visitor, "/account")
    assert visitor.post("/account/logout", {"csrfmiddlewaretoken": visitor.csrf}).status_code == 302


def who(visitor: Client) -> str | None:
    """Return the name in the header."""
    found = re.search('class="who__name">([^<]*)<', visitor.get("/").content.decode())
    return found and found[1]


@pytest.fixture
def limits(settings: LazySettings, tmp_path: Path) -> Any:
    settings.DATA_DIR = tmp_path
    settings.THROTTLES = {scope: Rate(3, 3600) for scope in ("logins", "signups", "resets", "writes")}
    forget_counts()
    yield settings
    forget_counts()


def test_signing_up_logs_in_and_shows_the_name(visitor: Visitor) -> None:
    assert who(visitor) is None

    page = sign_up(visitor, email="ada@example.org")

    assert page.redirect_chain == [("/mine", 302)]
    assert who(visitor) == "ada"
    assert User.objects.get().email == "ada@example.org"
    log_out(visitor)
    assert who(visitor) is None
    log_in(visitor)
    assert who(visitor) == "ada"


@pytest.mark.parametrize(
    "fields",
    [
        {"username": ""}, {"username": "a b"}, {"username": "x" * 151}, {"username": "a\x00b"}, {"username": "BOSS"},
        {"email": "nowhere"}, {"email": "a\x00@b.org"}, {"password1": "12345678", "password2": "12345678"},
        {"password2": "another one 3"}, {"password1": "short1!", "password2": "short1!"},
        {"password1": "a\x00" * 9, "password2": "a\x00" * 9}, {"username": "<script>alert(1)</script>"},
    ],
)  # fmt: skip
def test_invalid_sign_up_creates_no_account_and_shows_errors(
    visitor: Visitor, admin_user: User, fields: dict[str, str]
) -> None:
    page = sign_up(visitor, name=fields.pop("username", "ada"), **fields)

    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert "<script>alert" not in page.content.decode()
    assert User.objects.count() == 1
    assert who(visitor) is None


def test_login_replaces_planted_session(visitor: Visitor) -> None:
    sign_up(visitor)
    log_out(visitor)
    planted = SessionStore()
    planted["planted"] = "yes"
    planted.save()
    key = str(planted.session_key)
    visitor.cookies["sessionid"] = key

    log_in(visitor)
    planter = Client()
    planter.cookies["sessionid"] = key

    assert who(visitor) == "ada" and visitor.cookies["sessionid"].value != key
    assert who(planter) is None


def test_signing_up_adopts_earlier_drawings(visitor: Visitor) -> None:
    first, second = visitor.draw()["id"], visitor.draw()["id"]
    visitor.say(first, 8)
    visitor.say(first, 5)

    page = sign_up(visitor)

    account = User.objects.get()
    assert "2 earlier drawings were added to your account" in page.content.decode()
    assert f'id="drawing-{second}"' in page.content.decode() and "You said: 5" in page.content.decode()
    assert set(Submission.objects.values_list("account", "session")) == {(account.pk, None)}
    assert set(Correction.objects.values_list("account", flat=True)) == {account.pk}
    refresh(visitor)
    assert visitor.draw()["id"] and Submission.objects.filter(account=account).count() == 3


def test_logging_in_adopts_drawings_of_each_device(visitor: Visitor, stranger: Visitor) -> None:
    sign_up(visitor)
    drawn = stranger.draw()["id"]

    log_in(stranger)

    assert f'id="drawing-{drawn}"' in visitor.get("/mine").content.decode()


def test_logging_out_starts_new_anonymous_owner(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    sign_up(visitor)
    log_out(visitor)
    refresh(visitor)

    assert "Nothing here yet" in visitor.get("/mine").content.decode()
    later = visitor.draw()["id"]
    assert Submission.objects.get(pk=later).account is None
    sign_up(visitor, "eve")
    assert Submission.objects.get(pk=drawn).account != Submission.objects.get(pk=later).account


def test_nobody_adopts_drawings_of_others(visitor: Visitor, stranger: Visitor) -> None:
    drawn = stranger.draw()["id"]
    session = Submission.objects.get().session
    assert session is not None
    visitor.cookies["owner"] = f"{session.hex}:forged:signature"
    sign_up(visitor)
    assert Submission.objects.get(pk=drawn).account is None

    sign_up(stranger, "eve")
    eve, ada = User.objects.get(username="eve"), User.objects.get(username="ada")
    assert submissions.adopt(session, ada.pk) == (0, True)
    assert Submission.objects.get(pk=drawn).account == eve


def test_wrong_password_adopts_nothing(visitor: Visitor, stranger: Visitor) -> None:
    sign_up(stranger)
    visitor.draw()

    page = log_in(visitor, password="wrong")

    assert page.status_code == 200
    assert Submission.objects.get().account is None


def test_login_adopts_limited_number_and_next_login_the_rest(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "AT_ONCE", 2)
    monkeypatch.setattr(submissions, "ADOPTED_AT_MOST", 4)
    for _ in range(5):
        visitor.draw()

    sign_up(visitor)
    assert Submission.objects.filter(account=None).count() == 1
    log_out(visitor)
    log_in(visitor)
    assert not Submission.objects.filter(account=None).exists()


@pytest.mark.parametrize(
    "asked, led",
    [
        ("/experiment", "/experiment"), ("//elsewhere.example/x", "/mine"), ("https://elsewhere.example", "/mine"),
        ("javascript:alert(1)", "/mine"), ("/\\elsewhere.example", "/mine"), ("\x00", "/mine"), ("", "/mine"),
        ("http:///elsewhere.example", "/mine"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("door", ["login", "signup"])
def test_login_does_not_redirect_to_other_sites(visitor: Visitor, asked: str, led: str, door: str) -> None:
    User.objects.create_user("eve", password=PASSWORD)
    names = {"username": "eve", "password": PASSWORD}
    if door == "signup":
        names = {"username": "ada", "password1": PASSWORD, "password2": PASSWORD}

    answer = send(visitor, f"/account/{door}", next=asked, **names)

    assert answer.redirect_chain == [(led, 302)]


@pytest.mark.parametrize("door", ["login", "signup"])
def test_logged_in_visitor_is_redirected_from_login_and_signup(visitor: Visitor, door: str) -> None:
    sign_up(visitor)

    assert visitor.get(f"/account/{door}?next=/account/{door}")["Location"] == "/mine"


@pytest.mark.parametrize("page", ["", "/email", "/password", "/deletion"])
def test_account_pages_require_login(visitor: Visitor, page: str) -> None:
    assert visitor.get(f"/account{page}")["Location"] == f"/account/login?next=/account{page}"


@pytest.mark.parametrize(
    "page", ["login", "signup", "logout", "reset", "email", "password", "deletion", "token", "token/revocation"]
)
def test_account_forms_require_csrf_token(visitor: Visitor, page: str) -> None:
    sign_up(visitor)
    visitor.csrf = ""

    assert visitor.post(f"/account/{page}", {"username": "ada", "password": PASSWORD}).status_code == 403
    assert User.objects.count() == 1 and not Token.objects.exists()


def test_password_guesses_are_limited_per_address(visitor: Visitor, limits: Any) -> None:
    User.objects.create_user("ada", password=PASSWORD)

    tried = [log_in(visitor, password=f"guess {number}").status_code for number in range(3)]
    refused = log_in(visitor)

    assert tried == [200, 200, 200]
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 3600
    assert who(visitor) is None


def test_password_guesses_are_limited_per_name(visitor: Visitor, limits: Any) -> None:
    codes = []
    for number in range(32):
        refresh(visitor, "/account/login")
        fields = {"csrfmiddlewaretoken": visitor.csrf, "username": ("Grace", "gRACE")[number % 2], "password": "guess"}
        codes.append(visitor.post("/account/login", fields, REMOTE_ADDR=f"192.0.2.{number}").status_code)

    assert codes == [200] * 30 + [429] * 2


@pytest.mark.slow
@pytest.mark.parametrize("spelled", ["ada", " ada", "ada ", "ADA", "ａｄａ", " " * 200 + "ada"])
def test_login_limit_ignores_spelling_of_name(visitor: Visitor, limits: Any, spelled: str) -> None:
    for number in range(30):
        try_password(visitor, "ada", f"192.0.2.{number}")

    assert try_password(visitor, spelled, "198.51.100.1").status_code == 429


def test_owner_can_log_in_on_known_device_while_name_is_limited(visitor: Visitor, limits: Any) -> None:
    sign_up(visitor)
    log_out(visitor)
    for number in range(30):
        try_password(Visitor(), "ada", f"192.0.2.{number}")

    assert log_in(Visitor()).status_code == 429  # on an unknown device
    log_in(visitor)
    assert who(visitor) == "ada"


def test_known_device_is_limited_and_trusted_for_its_own_account_only(visitor: Visitor, limits: Any) -> None:
    sign_up(visitor)
    log_out(visitor)
    for number in range(30):
        try_password(Visitor(), "eve", f"192.0.2.{number}")

    assert try_password(visitor, "eve", "198.51.100.1").status_code == 429
    codes = [try_password(visitor, "ada", f"198.51.100.{number}").status_code for number in range(2, 6)]
    assert codes == [200, 200, 200, 429]


def test_password_reset_makes_device_known(visitor: Visitor, limits: Any) -> None:
    User.objects.create_user("ada", "ada@example.org", "forgotten 1928")
    for number in range(30):
        try_password(Visitor(), "ada", f"192.0.2.{number}")

    send(visitor, "/account/reset", email="ada@example.org")
    found = re.search(r"http://testserver(/account/reset/\S+)", str(mail.outbox[0].body))
    assert found
    form = visitor.get(found[1], follow=True)
    send(visitor, form.redirect_chain[-1][0], new_password1=PASSWORD, new_password2=PASSWORD)
    log_in(visitor)

    assert who(visitor) == "ada"


def try_password(visitor: Visitor, name: str, address: str) -> Any:
    """Send a wrong password from an address."""
    refresh(visitor, "/account/login")
    fields = {"csrfmiddlewaretoken": visitor.csrf, "username": name, "password": "guess"}
    return visitor.post("/account/login", fields, REMOTE_ADDR=address)


def test_admin_login_redirects_to_account_login(visitor: Visitor, admin_user: User) -> None:
    admin_user.set_password(PASSWORD)
    admin_user.save()

    fields = {"csrfmiddlewaretoken": visitor.csrf, "username": "boss", "password": PASSWORD}
    answer = visitor.post("/admin/login/?next=/admin/", fields)
    assert answer["Location"] == "/account/login?next=/admin/"
    assert who(visitor) is None

    asked = visitor.get("/admin/recognizer/submission/", follow=True)
    assert asked.redirect_chain[-1][0] == "/account/login?next=/admin/recognizer/submission/"
    led = log_in(visitor, "boss", address=asked.redirect_chain[-1][0])
    assert led.redirect_chain == [("/admin/recognizer/submission/", 302)]
    assert visitor.get("/admin/password_change/")["Location"] == "/account/password"


def test_only_account_pages_ask_for_password(visitor: Visitor) -> None:
    sign_up(visitor)

    for page in ("/", "/teach", "/mine", "/models", "/statistics", "/about", "/experiment", "/admin/login/"):
        assert 'type="password"' not in visitor.get(page).content.decode()


@pytest.mark.slow
def test_old_password_hashes_stay_valid_and_are_rehashed_for_one_thread(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["hdr_site.hashers.OneThreadArgon2"]
    older = Argon2PasswordHasher().encode(PASSWORD, "a salt of sixteen")
    ada = User.objects.create(username="ada", password=older)

    assert ",p=8$" in older and ada.check_password(PASSWORD)
    ada.refresh_from_db()
    assert ",p=1$" in ada.password and ada.check_password(PASSWORD)


def test_sign_ups_and_resets_are_limited_per_address(visitor: Visitor, limits: Any) -> None:
    assert [sign_up(visitor, "a b").status_code for _ in range(4)] == [200, 200, 200, 429]
    resets = [send(visitor, "/account/reset", email="ada@example.org").status_code for _ in range(4)]
    assert resets == [200, 200, 200, 429]
    assert sign_up(visitor).status_code == 429 and not User.objects.exists()


def test_changing_password_requires_old_one_and_ends_other_sessions(visitor: Visitor) -> None:
    sign_up(visitor)
    other = Visitor()
    log_in(other)

    wrong = send(visitor, "/account/password", old_password="x", new_password1="graph 77", new_password2="graph 77")
    assert "errorlist" in wrong.content.decode()
    new = {"new_password1": "graph paper 77", "new_password2": "graph paper 77"}
    assert (
        "Your password has been changed"
        in send(visitor, "/account/password", old_password=PASSWORD, **new).content.decode()
    )

    assert who(visitor) == "ada"
    assert who(other) is None
    assert User.objects.get().check_password("graph paper 77")


def test_password_reset_link_works_once(visitor: Visitor) -> None:
    User.objects.create_user("ada", "ada@example.org", PASSWORD)

    page = send(visitor, "/account/reset", email="ADA@example.org")
    assert "we have sent it a link" in page.content.decode()
    [letter] = mail.outbox
    assert letter.to == ["ada@example.org"] and "for the account ada on testserver" in letter.body
    found = re.search(r"http://testserver(/account/reset/\S+)", str(letter.body))
    assert found
    form = visitor.get(found[1], follow=True)
    new = {"new_password1": "graph paper 77", "new_password2": "graph paper 77"}
    done = send(visitor, form.redirect_chain[-1][0], **new)

    assert "Your new password has been saved" in done.content.decode()
    assert "already been used" in Visitor().get(found[1], follow=True).content.decode()
    log_in(visitor, password="graph paper 77")
    assert who(visitor) == "ada"


def test_reset_does_not_reveal_which_accounts_exist(visitor: Visitor) -> None:
    User.objects.create_user("ada", "ada@example.org", PASSWORD)

    known = send(visitor, "/account/reset", email="ada@example.org")
    unknown = send(visitor, "/account/reset", email="eve@example.org")

    assert main_of(known) == main_of(unknown)
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("link", ["x/y", "MQ/set-password", "%00/%00", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk/aaa-bbb"])
def test_invalid_reset_link_shows_expired_message(visitor: Visitor, link: str) -> None:
    page = visitor.get(f"/account/reset/{link}", follow=True)

    assert page.status_code == 200
    assert "already been used or has expired" in page.content.decode()


def test_changing_email_requires_password(visitor: Visitor) -> None:
    sign_up(visitor)

    send(visitor, "/account/email", email="eve@example.org", password="wrong")
    assert User.objects.get().email == ""
    send(visitor, "/account/email", email="ada@example.org", password=PASSWORD)
    assert "ada@example.org" in visitor.get("/account").content.decode()


def test_token_is_shown_once_works_and_can_be_revoked(visitor: Visitor) -> None:
    sign_up(visitor)
    made = _token_page(visitor)
    key = Token.objects.get().key
    program = Client(headers={"Authorization": f"Token {key}"})

    assert key in made.content.decode() and "no-store" in made["Cache-Control"]
    assert key not in visitor.get("/account").content.decode()
    assert program.post("/api/v1/submissions", THREE, content_type="application/json").status_code == 201
    assert Submission.objects.get().account == User.objects.get()
    assert "It is 3" in visitor.get("/mine").content.decode()

    _token_page(visitor)
    assert program.get("/api/v1/submissions").status_code == 401
    assert Token.objects.count() == 1
    visitor.post("/account/token/revocation")
    assert not Token.objects.exists()
    assert visitor.post("/account/token/revocation").status_code == 302


def _token_page(visitor: Visitor) -> Any:
    refresh(visitor, "/account")
    return visitor.post("/account/token")


def test_deleting_account_deletes_drawings_corrections_and_token(visitor: Visitor, stranger: Visitor) -> None:
    drawn = visitor.draw()["id"]
    kept = stranger.draw()["id"]
    sign_up(visitor)
    refresh(visitor)
    visitor.say(drawn, 8)
    _token_page(visitor)

    asked = visitor.get("/account/deletion").content.decode()
    assert '<span class="figure">1</span> drawing' in asked
    assert "Wrong password" in send(visitor, "/account/deletion", password="wrong").content.decode()
    done = send(visitor, "/account/deletion", password=PASSWORD)

    assert "Your account and all its drawings have been deleted" in done.content.decode()
    assert who(visitor) is None
    assert list(Submission.objects.values_list("pk", flat=True)) == [kept]
    assert not (Correction.objects.exists() or Token.objects.exists() or User.objects.exists())


BODIES = [
    ("application/x-www-form-urlencoded", b"username=%ff%fe&password=%00&email=%ED%A0%80%40b.org"),
    ("application/x-www-form-urlencoded", b"username=ada&password=x&next=" + b"/" * 5000),
    ("application/x-www-form-urlencoded", b"&".join(b"field%d=1" % number for number in range(2000))),
    ("application/x-www-form-urlencoded", b"email=a%40b.org%0d%0aBcc:c%40d.org"),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name="),
    ("application/json", b'{"username": 1}'),
    ("application/x-www-form-urlencoded", b""),
]


@pytest.mark.parametrize("page", ["login", "signup", "reset", "email", "password", "deletion", "token"])
@pytest.mark.parametrize("logged_in", [False, True])
def test_malformed_account_forms_cause_no_server_error_and_create_nothing(
    visitor: Visitor, page: str, logged_in: bool
) -> None:
    if logged_in:
        sign_up(visitor)
        refresh(visitor)
    before = User.objects.count()

    for kind, body in BODIES:
        assert visitor.generic("POST", f"/account/{page}", body, kind).status_code < 500

    assert User.objects.count() == before
    assert mail.outbox == []


def test_account_pages_use_few_queries(visitor: Visitor) -> None:
    sign_up(visitor)
    refresh(visitor)
    for _ in range(3):
        visitor.draw()

    with CaptureQueriesContext(connection) as queries:
        visitor.get("/account")
    assert len(queries) <= 5
    with CaptureQueriesContext(connection) as queries:
        visitor.get("/mine")
    assert len(queries) <= 6


def test_staff_cannot_delete_their_own_accounts(visitor: Visitor, admin_user: User) -> None:
    admin_user.set_password(PASSWORD)
    admin_user.save()
    log_in(visitor, "boss")

    assert "a staff account" in visitor.get("/account/deletion").content.decode()
    refresh(visitor, "/account")
    assert visitor.post("/account/deletion", {"password": PASSWORD}).status_code == 403
    assert User.objects.exists()


def test_session_of_deleted_account_is_anonymous(visitor: Visitor) -> None:
    sign_up(visitor)
    User.objects.all().delete()

    assert who(visitor) is None
    assert visitor.get("/mine").status_code == 200


def test_mail_url_selects_backend_host_and_sender() -> None:
    printed = parse_mail_url("", "digits@localhost")
    sent = parse_mail_url("smtp://ada:p%40ss@mail.example.org/?from=Digits%20<d@example.org>", "digits@localhost")
    tls = parse_mail_url("smtps://mail.example.org:4650", "digits@localhost")
    relay = parse_mail_url("smtp://localhost:25", "digits@localhost")

    assert "console" in printed.backend and printed.sender == "digits@localhost"
    assert (sent.host, sent.port, sent.user, sent.password) == ("mail.example.org", 587, "ada", "p@ss")
    assert sent.starttls and not sent.ssl and sent.sender == "Digits <d@example.org>"
    assert (tls.port, tls.ssl, tls.starttls) == (4650, True, False)
    assert (relay.port, relay.ssl, relay.starttls) == (25, False, False)


@pytest.mark.parametrize("url", ["mail.example.org", "http://x", "smtp://", "smtp://x:port", "smtp://[x"])
def test_invalid_mail_url_stops_start_with_clear_error(url: str) -> None:
    with pytest.raises(SystemExit, match="EMAIL_URL"):
        parse_mail_url(url, "digits@localhost")
