"""What Prometheus reads of this agent: `catalogue` names all of it, `page` renders it (docs/metrics.md).

Counted where it happens, by `meters`, in some hundred nanoseconds; the rest is looked up when somebody asks. The
library that writes the format, prometheus_client, is imported with the first scrape: an agent that nobody scrapes
does not pay its memory.
"""
