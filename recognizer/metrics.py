"""Prometheus metrics of a web process; `/metrics` sums them over processes. Names follow Prometheus' conventions."""

from prometheus_client import Counter, Gauge, Histogram

from recognizer.reserved import reserve_counts

reserve_counts()

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

REQUEST_SECONDS = Histogram(
    "digits_http_request_seconds", "Time until a request was answered.", ["method", "route", "status"], buckets=SECONDS
)
PREPROCESSING_SECONDS = Histogram(
    "digits_preprocessing_seconds", "Time to check a drawing and bring it to the input.", ["form"], buckets=SECONDS
)
INFERENCE_SECONDS = Histogram("digits_inference_seconds", "Time of one run of the network.", buckets=SECONDS)
READINGS = Counter("digits_readings_total", "Drawings read.", ["verdict", "stored"])
CORRECTIONS = Counter("digits_corrections_total", "Things people said of their drawings.", ["kind"])
QUOTA_REFUSALS = Counter(
    "digits_quota_refusals_total", "Drawings that were not stored, for a day's bytes were used up.", ["quota"]
)
QUOTA_REFUSALS.labels("owner"), QUOTA_REFUSALS.labels("anonymous")  # so that they start at 0
SERVING_VERSION = Gauge(
    "digits_serving_version", "The model's version that a process reads with.", multiprocess_mode="liveall"
)
SWAPS = Counter("digits_swaps_total", "Changes of the version that a process reads with.")
SWAP_FAILURES = Counter("digits_swap_failures_total", "Versions that a process refused to read with.")
