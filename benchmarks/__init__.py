"""Accuracy and latency of kpextract and its peers, measured through public calls."""
