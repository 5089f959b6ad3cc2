"""The log of a worker: one line of JSON for each warning and error, and for each request if that is on."""

import json
import logging
import os
import time

from serving.web import request_ids


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON. The attribute `fields` of a record adds fields to the line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        milliseconds = int(record.msecs)
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{milliseconds:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": os.getpid(),
            "message": record.getMessage(),
        }
        if request_id := request_ids.current():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(access_log: bool) -> None:
    """Sets the format of this process's log, after BentoML made its handlers. access_log: log a line per request."""
    for name in ("uvicorn.error", "circus"):
        logging.getLogger(name).handlers.clear()  # they pass their records on too, so each line would be there twice
    logging.getLogger("uvicorn.access").propagate = False  # without a handler uvicorn does not make its lines
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines())
    logging.getLogger("serving.access").setLevel(logging.INFO if access_log else logging.WARNING)
