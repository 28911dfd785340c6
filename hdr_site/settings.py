"""Django settings. The site runs without any environment variables; the README lists those that it reads."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from hdr_site import environment
from hdr_site.mail import parse_mail_url
from web.rates import parse_quotas, parse_rates

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(environment.text("HDR_DATA_DIR", str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = environment.flag("DEBUG")
SECRET_KEY = environment.secret("SECRET_KEY", DATA_DIR / "secret_key")
SECRET_KEY_FALLBACKS = environment.words("SECRET_KEY_FALLBACKS")
HOST = environment.text("HOST", "127.0.0.1")
PORT = environment.number("PORT", 8000)
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", f"localhost,127.0.0.1,[::1],{HOST}")
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")
PROXIES = environment.number("HDR_PROXIES", 0)
HTTPS = environment.flag("HDR_HTTPS")

# --- Applications -----------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "recognizer",
    "training",
    "web",
    "hdr_site",
]

MIDDLEWARE = [
    "web.middleware.identify",
    "web.middleware.measure",
    "web.middleware.bound_body",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "web.middleware.content_security_policy",
    "web.middleware.keep_from_shared_caches",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "web.middleware.audit_staff",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "hdr_site.urls"
WSGI_APPLICATION = "hdr_site.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "web.context.site_context",
            ],
        },
    },
]

# --- State ------------------------------------------------------------------------------------------------------------

DATABASES: dict[str, Any] = {
    "default": environment.database("DATABASE_URL", f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
    | {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "hdr_site.sqlite"  # detects that the file was removed or replaced
    # With WAL, readers never wait for the writer. A writer waits for the lock at the start of its transaction
    # (IMMEDIATE), so that none fails half-way.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
    # Not in memory, which is Django's default for tests: there SQLite has no WAL and does not wait for locks.
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["ENGINE"] = "hdr_site.postgresql"  # with a circuit breaker
    # An unplugged host does not even refuse a connection; by default the kernel waits a quarter of an hour for it.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,  # seconds
        "tcp_user_timeout": 3000,  # milliseconds until sent data must be acknowledged
        "keepalives_idle": 3,  # seconds without traffic before the first probe
        "keepalives_interval": 1,  # seconds between probes
        "keepalives_count": 3,  # unanswered probes before the connection is closed
        # Of several hosts, use the one that accepts writes.
        "target_session_attrs": "read-write" if "," in str(DATABASES["default"]["HOST"]) else "any",
    } | DATABASES["default"].get("OPTIONS", {})  # options in DATABASE_URL take precedence
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = environment.text("REDIS_URL")
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},  # seconds
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# --- Security ---------------------------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True  # scripts read the token from a form field
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # probes come from the internal network, without TLS
if PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
PASSWORD_HASHERS = [  # the first one hashes; the others' hashes are replaced at their owners' next login
    "hdr_site.hashers.OneThreadArgon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "login", "mine", "draw"

_MAIL = parse_mail_url(environment.text("EMAIL_URL"), sender="digits@localhost")
DEFAULT_FROM_EMAIL, EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = _MAIL.sender, _MAIL.backend, _MAIL.host, _MAIL.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL.user, _MAIL.password
EMAIL_USE_SSL, EMAIL_USE_TLS, EMAIL_TIMEOUT = _MAIL.ssl, _MAIL.starttls, 10  # seconds

# Largest request body, in bytes; a larger one is 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

# --- API --------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_PARSER_CLASSES": ["web.api.formats.JsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["web.api.formats.JsonRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "web.api.authentication.TokenAuthentication",
        "web.api.authentication.LoginAuthentication",
        "web.api.authentication.OwnerCookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "web.api.formats.AlwaysJson",
    "EXCEPTION_HANDLER": "web.api.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Handwritten Digit Recognition",
    "DESCRIPTION": "Read handwritten digits from ink or pictures, and correct the answers.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
}

THROTTLES = parse_rates(
    environment.text("HDR_THROTTLES"),
    defaults={
        "previews": "600/min",
        "submissions": "120/min",
        "corrections": "120/min",
        "writes": "120/min",
        "logins": "10/min",
        "signups": "30/hour",  # enough for a school class behind one address
        "resets": "10/hour",
    },
)

# Bytes per day that one client and all strangers together may store; off if the throttles are, unless set explicitly.
QUOTAS = parse_quotas(
    environment.text("HDR_QUOTAS", "" if THROTTLES else "off"), defaults={"owner": "100MB", "anonymous": "2GB"}
)

# Who accepts corrections: "triage": rules accept plausible ones and people review the rest; "all": people review all.
REVIEW = environment.choice("HDR_REVIEW", ("triage", "all"))

# Days after which drawings without an accepted correction are deleted; 0 keeps all.
KEEP_DAYS = environment.number("HDR_KEEP_DAYS", 0)

# Bearer token required to read /metrics; empty: none required.
METRICS_TOKEN = environment.text("HDR_METRICS_TOKEN")

# --- Background work --------------------------------------------------------------------------------------------------

_SPOOL = DATA_DIR / "celery"
if REDIS_URL:
    CELERY_BROKER_URL = REDIS_URL
    # Redis delivers an unacknowledged message again after `visibility_timeout`; no training run takes that long.
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "visibility_timeout": int(timedelta(hours=2).total_seconds()),
        # Seconds; without these timeouts, clients of an unplugged Redis host would wait forever.
        "socket_connect_timeout": 2,
        "socket_timeout": 3,
        "health_check_interval": 5,
    }
else:
    for folder in ("messages", "control"):
        (_SPOOL / folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_URL = "filesystem://localhost"
    CELERY_BROKER_TRANSPORT = "hdr_site.broker:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_SPOOL / "messages"),
        "data_folder_out": str(_SPOOL / "messages"),
        "control_folder": str(_SPOOL / "control"),
    }
CELERY_BROKER_CONNECTION_TIMEOUT = 2  # seconds to send a message, all attempts together
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None  # results are not stored, so the scheduler needs no task to delete them
CELERY_TASK_DEFAULT_QUEUE = "site"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # so that a busy worker leaves messages to idle ones
CELERY_WORKER_LOST_WAIT = 2.0  # seconds to wait for a dead process's last result before replacing it
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "hdr_site.beat:PatientScheduler"  # the schedule itself: hdr_site/schedule.py

# --- Data -------------------------------------------------------------------------------------------------------------

MNIST_DIR = environment.text("HDR_MNIST_DIR")
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_FILES = {  # name: sha256 as published
    "t10k-images-idx3-ubyte.gz": "5634745efa576a17e7d4cf5cd9d09123c75e6538e5114267c2d156edaf519341",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "train-images-idx3-ubyte.gz": "71524e2cd1ad2968737f7f2f2ff69cbfc32df8ccddff51593f7cb2d4e0eb5b64",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
}

# --- Static files, language, logs -------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "hdr_site.static.HashedStaticFiles"},
}
WHITENOISE_MAX_AGE = 3600

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("fr", "French"), ("ar", "Arabic")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HTTPS
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "hdr_site.formats"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "web.logs.RequestIdFilter"}},
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name} {request_id}: {message}", "style": "{"},
        "json": {"()": "web.logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "filters": ["request_id"],
            "formatter": environment.choice("HDR_LOGS", ("text", "json")),
        }
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.server": {"propagate": True},
        # INFO would log several uninformative lines per minute: one for each task sent, received and finished.
        **{name: {"level": "WARNING"} for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace")},
    },
}
