"""The threads that work bulk jobs off: one for ingest, one for queries, in the order in which the jobs were closed.

They start with the first job (or with those that an earlier process left behind) and stop with the server, between two chunks.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import threading
from collections.abc import Callable

from local.salesforce.bulk.ingest import Files, Ingest, prepare_results
from local.salesforce.bulk.jobs import Job, JobTable, State
from local.salesforce.bulk.query import BulkQuery
from local.salesforce.context import Context, Surface
from local.salesforce.rest.state import OrgState
from local.salesforce.soql.executor import Executor, Locators
from local.salesforce.store import stamp

KEPT_DAYS = 7
BATCHES = "DailyBulkApiBatches"

log = logging.getLogger("salesforce.bulk")


class BulkService:
    """The bulk jobs of one org."""

    def __init__(self, state: OrgState) -> None:
        self.state = state
        self.jobs = JobTable(state.store)
        self.executor = Executor(state.store, Locators())
        self._folder = state.home / "bulk"
        self._aborted: set[str] = set()
        self._stop = threading.Event()
        self._workers = {"ingest": _Worker("ingest", self._work), "query": _Worker("query", self._work)}
        self._forget_old()
        for kind in self._workers:
            if self.jobs.next_to_do(kind) is not None:
                self.wake(kind)

    def files(self, job: Job) -> Files:
        return Files(self._folder / job.id)

    def new_files(self, job: Job) -> Files:
        files = self.files(job)
        files.folder.mkdir(parents=True, exist_ok=True)
        return files

    def wake(self, kind: str) -> None:
        """There is a job to do."""
        if not self._stop.is_set():
            self._workers[kind].wake()

    def abort(self, job: Job) -> None:
        """Tell the worker, which learns it between two chunks."""
        self._aborted.add(job.id)

    def remove(self, job: Job) -> None:
        """Forget a job and its files."""
        self.jobs.delete(job.id)
        shutil.rmtree(self.files(job).folder, ignore_errors=True)

    def close(self) -> None:
        """Stop the workers after their current chunk; their jobs resume with the next start."""
        self._stop.set()
        for worker in self._workers.values():
            worker.stop()

    def _forget_old(self) -> None:
        """Jobs and their results are kept for seven days."""
        before = stamp(self.state.store.clock() - dt.timedelta(days=KEPT_DAYS))
        for job in self.jobs.older_than(before):
            self.remove(job)

    def _work(self, kind: str) -> bool:
        """Do the next job of a kind; False when there is none."""
        job = None if self._stop.is_set() else self.jobs.next_to_do(kind)
        if job is None:
            return False
        try:
            self._run(job)
        except Exception:  # the border: whatever a job meets, the next one has its turn
            if self._stop.is_set():
                return False
            log.exception("bulk job %s failed", job.id)
            self._fail(job)
        return not self._stop.is_set()

    def _run(self, job: Job) -> None:
        files, context = self.new_files(job), self._context(job)
        if job.kind == "ingest":
            run = Ingest(self.state.store, self.jobs, job, files, context, self._take_batch, self._stop.is_set)
            run.note = lambda records: self.state.calls.note("bulk_ingest", records)
            if self.state.faults:
                run.locked = lambda: self.state.faults.locked(job.object_name)
            run.run()
            return

        def stopping() -> bool:
            return self._stop.is_set() or job.id in self._aborted

        BulkQuery(self.executor, self.jobs, job, files, context, stopping).run()
        self.state.calls.note("bulk_query", job.progress.processed)

    def _take_batch(self) -> bool:
        return self.state.limits.take(BATCHES)

    def _context(self, job: Job) -> Context:
        user = self.state.store.get("User", job.user_id) or {}
        return Context(
            user_id=job.user_id,
            permissions=self.state.permissions(job.user_id),
            surface=Surface.BULK,
            auto_assign=job.assignment_rule is not None,
            user=dict(user),
            now=self.state.store.clock,
        )

    def _fail(self, job: Job) -> None:
        with self.state.store.write() as tx:
            current = self.jobs.get(job.kind, job.id)
            if current is not None and not current.state.final:
                current.state = State.FAILED
                current.error = "UNKNOWN_EXCEPTION : An unexpected error occurred"
                self.jobs.save(tx, current)
                if current.kind == "ingest" and self.files(current).upload.exists():
                    prepare_results(current, self.files(current))


class _Worker:
    """A thread that runs while there is work, and sleeps until it is woken."""

    def __init__(self, kind: str, work: Callable[[str], bool]) -> None:
        self._kind = kind
        self._do = work
        self._woken = threading.Event()
        self._stopped = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        with self._lock:
            self._woken.set()
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name=f"bulk-{self._kind}", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._woken.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._woken.wait()
            self._woken.clear()
            while not self._stopped and self._do(self._kind):
                pass
