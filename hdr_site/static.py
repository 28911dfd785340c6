"""Static files, named by the hash of their content and compressed in advance."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """WhiteNoise's hashed and compressed files, with rewritten imports between our ES modules too."""

    support_js_module_import_aggregation = True
