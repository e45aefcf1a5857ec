"""The HTML report: one file that opens from disk, on a phone, with no network, in English and Chinese."""
