"""Serve an artifact over HTTP, with nothing but the standard library.

    python examples/serve_http.py --artifact artifacts/quickstart --port 8000
    curl http://127.0.0.1:8000/predict -d '{"dense": [[1,0,3,0,0,0,0,0,0,0,0,0,2]],
        "sparse": [[5,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]]}'

A request has one or more rows: ``dense`` holds the 13 integer features of each, ``sparse`` the 26 ids of its
categories, as the dictionaries of the dataset folder number them. The answer has a click probability for each row.

A model scores 2,048 rows in the time of about 30 single ones, so requests that arrive together are scored together:
one thread takes all requests that are waiting, up to ``--max_rows``. It does not delay a request to wait for others,
because the next batch gathers while this one is scored: batches grow with the load, and a single request is answered
at once.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch

import dlrm_pl

MAX_BODY_BYTES = 1 << 20

Request = tuple[np.ndarray, np.ndarray, "Future[np.ndarray]"]
"""Dense features ``[B, 13]``, ids ``[B, 26]``, and where the probabilities ``[B]`` go."""


class Batcher(threading.Thread):
    """Score the rows of waiting requests together, in one thread."""

    def __init__(self, predictor: dlrm_pl.Predictor, max_rows: int) -> None:
        super().__init__(daemon=True)
        self._predictor, self._max_rows = predictor, max_rows
        self._waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def score(self, dense: np.ndarray, sparse: np.ndarray) -> np.ndarray:
        """Probabilities of the rows of one request; waits for its batch."""
        answer: Future[np.ndarray] = Future()
        self._waiting.put((dense, sparse, answer))
        return answer.result()

    def run(self) -> None:
        while True:
            requests = [self._waiting.get()]
            rows = len(requests[0][0])
            while rows < self._max_rows and not self._waiting.empty():
                requests.append(self._waiting.get())
                rows += len(requests[-1][0])
            self._answer(requests)

    def _answer(self, requests: list[Request]) -> None:
        dense, sparse, answers = zip(*requests, strict=True)
        try:
            probabilities = self._predictor.predict((np.concatenate(dense), np.concatenate(sparse)))
        except dlrm_pl.DLRMError as error:
            if len(requests) == 1:
                answers[0].set_exception(error)
                return
            for request in requests:  # One wrong id fails the whole batch, so each request gets an answer of its own.
                self._answer([request])
            return
        ends = np.cumsum([len(part) for part in dense])
        for answer, part in zip(answers, np.split(probabilities, ends[:-1]), strict=True):
            answer.set_result(part)


def handler_of(batcher: Batcher) -> type[BaseHTTPRequestHandler]:
    """Answer ``POST /predict``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # Keep connections open between requests.

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if self.path != "/predict" or length > MAX_BODY_BYTES:
                self.close_connection = True  # Its body is not read.
                self._answer(404 if self.path != "/predict" else 413, {"error": "POST up to 1 MiB of JSON to /predict"})
                return
            try:
                request = json.loads(self.rfile.read(length))
                dense = np.asarray(request["dense"], dtype=np.float32)
                sparse = np.asarray(request["sparse"], dtype=np.int64)
                # Checked before it joins a batch with the rows of others.
                dlrm_pl.ClickBatch.from_arrays(dense, sparse)
                self._answer(200, {"probabilities": batcher.score(dense, sparse).tolist()})
            except (dlrm_pl.DLRMError, ValueError, TypeError, KeyError) as error:
                self._answer(400, {"error": f"{type(error).__name__}: {error}"})

        def _answer(self, status: int, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing for each request."""

    return Handler


def server_of(artifact: str, port: int, max_rows: int = 2048, pages: str = "mapped") -> ThreadingHTTPServer:
    """A server on the loopback device, not yet serving; port 0 takes a free one."""
    batcher = Batcher(dlrm_pl.Predictor(dlrm_pl.load_artifact(artifact, pages=pages)), max_rows)
    batcher.start()
    return ThreadingHTTPServer(("127.0.0.1", port), handler_of(batcher))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve an artifact over HTTP.")
    parser.add_argument("--artifact", required=True, help="artifact folder, as `dlrm-pl quantize` writes it")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1")
    parser.add_argument("--max_rows", type=int, default=2048, help="rows that are scored at a time")
    parser.add_argument("--pages", choices=["mapped", "prefault", "huge"], default="mapped", help="how tables are kept")
    parser.add_argument("--threads", type=int, default=1, help="threads that score a batch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    server = server_of(options.artifact, options.port, options.max_rows, options.pages)
    print(f"http://127.0.0.1:{server.server_port}/predict", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
