"""Parts of ``bench_media.py``: its files, its readers, their workers, checks and cases."""
