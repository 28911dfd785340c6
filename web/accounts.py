"""Accounts: Django's own, plus sign-up, API tokens, deletion, and adoption of earlier anonymous drawings."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import login, logout, views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.generic import FormView
from rest_framework.authtoken.models import Token

from recognizer import submissions
from recognizer.models import Correction, Submission
from recognizer.owners import Owner
from web.devices import device_of, normalize_name, remember_device
from web.numbers import decimal
from web.throttles import client_of, limited, too_many, wait_for
from web.visitors import forget_session, session_of

PER_TARGET_FACTOR = 10  # limit per name or mailbox, in multiples of one client's: against guessing from many addresses

sensitive_and_uncached = [sensitive_post_parameters(), never_cache]


class SignUpForm(UserCreationForm):
    """Ask for an unused name, an optional e-mail address, and a password twice."""

    email = forms.EmailField(
        label=gettext_lazy("E-mail"),
        required=False,
        help_text=gettext_lazy("Optional. Without it you cannot reset your password."),
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "email")


class PasswordForm(forms.Form):
    """Ask for the account's password to confirm an action that only its owner may take."""

    password = forms.CharField(
        label=gettext_lazy("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        self.user = user
        super().__init__(*args, **kwargs)

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not self.user.check_password(password):
            raise forms.ValidationError(_("Wrong password."))
        return password


class EmailForm(PasswordForm):
    """Ask for the e-mail address that password resets go to."""

    email = forms.EmailField(
        label=gettext_lazy("E-mail"), required=False, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    field_order = ("email", "password")


@method_decorator(sensitive_and_uncached, name="dispatch")
class LogIn(views.LoginView):
    """Log in and move the visitor's anonymous drawings to the account."""

    template_name = "account/login.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Redirect logged-in users to their drawings."""
        return redirect("mine") if request.user.is_authenticated else super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Limit login attempts per client address, and per known device or, on other devices, per name."""
        wait = _wait_to_log_in(request, request.POST.get("username", ""))
        return super().post(request, *args, **kwargs) if wait is None else too_many(request, wait)

    def form_valid(self, form: Any) -> HttpResponse:
        return _after_login(self.request, super().form_valid(form))


@method_decorator([*sensitive_and_uncached, limited("signups")], name="dispatch")
class SignUp(views.RedirectURLMixin, FormView):
    """Create an account, log in and move the visitor's anonymous drawings to it."""

    template_name = "account/signup.html"
    form_class = SignUpForm
    next_page = "mine"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Redirect logged-in users to their drawings."""
        return redirect("mine") if request.user.is_authenticated else super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        try:
            with transaction.atomic():
                user = form.save()
        except IntegrityError:  # another request took the name after the form was validated
            form.add_error("username", _("That name is already taken."))
            return self.form_invalid(form)
        login(self.request, user)
        return _after_login(self.request, redirect(self.get_success_url()))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"next": self.get_redirect_url()}


class Reset(views.PasswordResetView):
    """Send a reset link if the address belongs to an account; the page looks the same if it does not."""

    template_name = "account/reset.html"
    email_template_name = "account/reset_mail.txt"
    subject_template_name = "account/reset_subject.txt"
    success_url = reverse_lazy("reset-sent")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Limit reset requests per client address and per mailbox."""
        wait = _wait_for(request, "resets", f"mailbox {normalize_name(request.POST.get('email', ''))}")
        return super().post(request, *args, **kwargs) if wait is None else too_many(request, wait)


class ChangePassword(views.PasswordChangeView):
    """Change the password after checking the current one; other devices are logged out."""

    template_name = "account/password.html"
    success_url = reverse_lazy("account")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, _("Your password has been changed."))
        return super().form_valid(form)


def adopt_drawings(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Move the visitor's anonymous drawings to the account that has just logged in."""
    session = session_of(request)
    if session is None:
        return response
    adopted, all_of_them = submissions.adopt(session, _user(request).pk)
    if all_of_them:
        forget_session(response)
    if adopted:
        words = ngettext(
            "%(n)s earlier drawing was added to your account.",
            "%(n)s earlier drawings were added to your account.",
            adopted,
        )
        messages.success(request, words % {"n": decimal(adopted)})
    return response


@require_safe
@login_required
@never_cache
def account(request: HttpRequest) -> HttpResponse:
    """Show the account and the actions it offers."""
    return _page(request, _user(request))


@require_POST
@login_required
@never_cache
@limited("writes")
def make_token(request: HttpRequest) -> HttpResponse:
    """Replace the account's API token and show the new one, once."""
    user = _user(request)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        Token.objects.filter(user=user).delete()
        token = Token.objects.create(user=user)
    return _page(request, user, token=token.key)


@require_POST
@login_required
@limited("writes")
def revoke_token(request: HttpRequest) -> HttpResponse:
    """Revoke the account's API token."""
    if Token.objects.filter(user=_user(request)).delete()[0]:
        messages.info(request, _("The token has been revoked."))
    return redirect("account")


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("logins")
def change_email(request: HttpRequest) -> HttpResponse:
    """Set or remove the e-mail address that password resets go to."""
    user = _user(request)
    form = EmailForm(request.POST or None, user=user, initial={"email": user.email})
    if form.is_valid():
        user.email = User.objects.normalize_email(form.cleaned_data["email"])
        user.save(update_fields=["email"])
        saved, removed = _("Your e-mail address has been saved."), _("Your e-mail address has been removed.")
        messages.success(request, saved if user.email else removed)
        return redirect("account")
    return render(request, "account/email.html", {"form": form})


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("logins")
def delete_account(request: HttpRequest) -> HttpResponse:
    """Ask for confirmation, then delete the account and all its drawings. Staff accounts are deleted in the admin."""
    user = _user(request)
    if user.is_staff:
        return render(request, "account/deletion.html", {"staff": True}, status=403 if request.POST else 200)
    form = PasswordForm(request.POST or None, user=user)
    if form.is_valid():
        logout(request)
        submissions.delete_all(Owner(account=user.pk))
        user.delete()
        messages.info(request, _("Your account and all its drawings have been deleted."))
        return redirect("mine")
    return render(request, "account/deletion.html", {"form": form, **_data_counts(user)})


@require_http_methods(["GET", "HEAD", "POST"])
def redirect_admin_login(request: HttpRequest) -> HttpResponse:
    """Redirect the admin's login to the site's, the only one with rate limits."""
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


def _wait_to_log_in(request: HttpRequest, name: str) -> float | None:
    if device := device_of(request, name):
        return _wait_for(request, "logins", f"device {device}", times=1)
    return _wait_for(request, "logins", f"name {normalize_name(name)}")


def _wait_for(request: HttpRequest, scope: str, target: str, times: int = PER_TARGET_FACTOR) -> float | None:
    wait = wait_for(scope, client_of(request))
    return wait_for(scope, target, times) if wait is None else wait


def _after_login(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    remember_device(response, _user(request).username)
    return adopt_drawings(request, response)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _page(request: HttpRequest, user: User, token: str | None = None) -> HttpResponse:
    made = Token.objects.filter(user=user).values_list("created", flat=True).first()
    context = {"token": token, "token_made": made, "example": request.build_absolute_uri("/api/v1/submissions")}
    return render(request, "account/account.html", context | _data_counts(user))


def _data_counts(user: User) -> dict[str, Any]:
    drawings = Submission.objects.owned_by(Owner(account=user.pk))
    said = Correction.objects.standing().filter(account=user)
    return {"drawings": drawings.count(), "said": said.count()}


class _ResetSent(views.PasswordResetDoneView):
    template_name = "account/reset_sent.html"


class _NewPassword(views.PasswordResetConfirmView):
    template_name = "account/reset_password.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, _("Your new password has been saved. You can log in with it now."))
        response = super().form_valid(form)
        assert self.user is not None  # only a valid link shows the form
        remember_device(response, self.user.username)
        return response


urlpatterns: list[URLPattern] = [
    path("login", LogIn.as_view(), name="login"),
    path("logout", views.LogoutView.as_view(), name="logout"),
    path("signup", SignUp.as_view(), name="signup"),
    path("email", change_email, name="email"),
    path("password", limited("logins")(ChangePassword.as_view()), name="password"),
    path("reset", Reset.as_view(), name="reset"),
    path("reset/sent", _ResetSent.as_view(), name="reset-sent"),
    path("reset/<uidb64>/<token>", _NewPassword.as_view(), name="reset-password"),
    path("token", make_token, name="token"),
    path("token/revocation", revoke_token, name="token-revocation"),
    path("deletion", delete_account, name="account-deletion"),
]
