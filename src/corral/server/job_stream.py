"""`GET /v1/jobs/{id}/events`: what a job said so far and then live, as server-sent events, or page by page as JSON."""

from __future__ import annotations

import inspect

from corral.errors import JobNotFound, StoreUnavailable
from corral.jobs.bell import Bell
from corral.jobs.desk import JobDesk
from corral.jobs.follower import NOTHING, Follower, News
from corral.jobs.states import TERMINAL
from corral.server.dialects import problem
from corral.server.disconnect import while_there
from corral.server.http import EVENT_STREAM, Request, StreamWriter
from corral.server.job_query import PAGE_MAX, after_of, whole_number
from corral.server.job_shown import end_frame, event_frame, one_line, status_frame

_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_HEARTBEAT_S = 15.0
_HEARTBEAT = b": here\n\n"
_PAUSE_S = 1.0
_PAGE = 500


class JobStream:
    """Tells what becomes of one job."""

    def __init__(self, desk: JobDesk, *, heartbeat_s: float = _HEARTBEAT_S) -> None:
        """`heartbeat_s`: a stream says that it is there at least this often."""
        self._desk = desk
        self._heartbeat_s = heartbeat_s

    async def answer(self, request: Request) -> None:
        """`GET /v1/jobs/{id}/events`."""
        tenant, job_id = request.context.tenant, request.params["id"]
        after, heard_end = after_of(request)
        if "text/event-stream" not in (request.header(b"accept") or "") or request.method == "HEAD":
            await self._page(request, after)
            return
        if heard_end and (await self._desk.get(tenant, job_id)).status in TERMINAL:
            # A browser that is answered 204 does not come back.
            request.status = 204
            await request.send({"type": "http.response.start", "status": 204, "headers": request.response_headers})
            await request.send({"type": "http.response.body", "body": b""})
            return
        bell = Bell()
        follower = await self._desk.follow(tenant, job_id, bell.ring, after=after)
        try:
            writer = await request.open_stream(200, EVENT_STREAM, _HEADERS)
            await self._while_there(request, writer, follower, bell)
        finally:
            follower.close()

    async def _page(self, request: Request, after: int) -> None:
        tenant, job_id = request.context.tenant, request.params["id"]
        limit = whole_number(request.query, "limit", _PAGE, low=1, high=PAGE_MAX)
        job = await self._desk.get(tenant, job_id)  # before its events: those of a job that has ended are all there
        events = await self._desk.events(tenant, job_id, after=after, limit=limit)
        last = events[-1].seq if events else after
        await request.respond_json(
            {"items": events, "next_after": last, "status": job.status, "last_seq": job.last_seq}
        )

    async def _while_there(self, request: Request, writer: StreamWriter, follower: Follower, bell: Bell) -> None:
        """Until the job has ended, or the client has left."""
        with while_there(request):
            last = await self._tell(request, writer, follower, bell)
            ended = writer.end_stream(last)
            if inspect.isawaitable(ended):
                await ended

    async def _tell(self, request: Request, writer: StreamWriter, follower: Follower, bell: Bell) -> bytes:
        """Write what is new until the end, and return the last frame."""
        while True:
            if follower.draining:
                return b": this worker leaves, come back\n\n"
            if follower.gone:
                request.failure = JobNotFound("The job was removed.")
                return b"event: error\ndata: %s\n\n" % one_line(problem(request, request.failure))
            try:
                news = await follower.take()
            except StoreUnavailable:
                await bell.wait(_PAUSE_S)
                continue
            if news.last:
                return _frames(news, follower.seq)
            if news is NOTHING:
                rang = await bell.wait(self._heartbeat_s)
                if not rang and writer.write_piece(_HEARTBEAT):
                    await writer.drain()
            elif writer.write_piece(_frames(news, follower.seq)):
                await writer.drain()


def _frames(news: News, seq: int) -> bytes:
    frames = [event_frame(event) for event in news.events]
    if news.info is not None:
        if news.last:
            frames.append(end_frame(news.info, seq))
        else:
            frames.insert(0, status_frame(news.info))
    return b"".join(frames)
