"""Static files as they are served: named by their content's hash and compressed ahead of time."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """WhiteNoise's hashed and compressed files, with the imports between our ES modules rewritten too."""

    support_js_module_import_aggregation = True
