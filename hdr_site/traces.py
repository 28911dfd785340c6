"""OpenTelemetry traces of requests, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set; needs requirements-traces.txt."""

from hdr_site import environment

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
UNTRACED = "healthz,readyz,metrics,static/.*"


def send_traces() -> None:
    """Start tracing this process's requests; do nothing if no endpoint is set.

    Raises:
        SystemExit: an endpoint is set but the packages are not installed.
    """
    if not environment.text(ENDPOINT):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SystemExit(f"{ENDPOINT} needs `pip install -r requirements-traces.txt` ({error}).") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "digits"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(excluded_urls=UNTRACED)
