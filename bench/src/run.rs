//! The open loop: requests fall due when the schedule says, whatever became of those before.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinSet,
    time::Instant,
};

use crate::{
    history::{History, Kind, Known, Record},
    pacer::{Arrivals, Rate},
    port::{ErrorKind, Outcome, Target},
    tally::{Tally, Times},
    workload::{Class, Request, Requests},
};

/// A request that is sent this much after it was due is counted as a late start: the generator, or
/// all of its connections, were busy.
pub const LATE_START: Duration = Duration::from_millis(5);

/// Requests that may wait for a connection at most.
const BACKLOG_MAX: usize = 100_000;
/// How long the pacing thread sleeps at most before it looks whether the run was stopped.
const NAP: Duration = Duration::from_millis(50);
/// Sessions written at once before the run.
const FILL_AT_ONCE: usize = 16;

/// How a run is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The mean rate of arrivals.
    pub rate: Rate,
    /// How long is measured.
    pub duration: Duration,
    /// How long requests are sent before that, and not counted.
    pub warm_up: Duration,
    /// Requests under way at most.
    pub connections: usize,
    /// How long one request may take. One that has waited this long for a connection is not sent.
    pub deadline: Duration,
    /// Where arrivals come from.
    pub seed: u64,
}

impl Options {
    /// Requests that may wait for a connection: as many as fall due within a deadline.
    fn backlog(&self) -> usize {
        let due = self.rate.per_second() * self.deadline.as_secs_f64();
        // A float beyond the range becomes the end of the range.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "both factors are positive, and the cast saturates"
        )]
        let due = due as usize;
        due.clamp(1, BACKLOG_MAX)
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    pub(crate) tally: Tally,
    /// The time that was measured; shorter than asked for if the run was stopped.
    pub measured: Duration,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// What all connections write to.
#[derive(Debug)]
struct Book {
    begin: Instant,
    tally: Mutex<Tally>,
    history: Option<Arc<History>>,
    /// The last version seen of each session, for swaps; `None` if there are none.
    versions: Option<Mutex<BTreeMap<String, String>>>,
    /// Whether a session may be absent.
    deletes: bool,
}

impl Book {
    /// A request as it is sent: a swap wants what was seen last.
    fn sent<'a>(&self, request: &'a Request) -> Cow<'a, Request> {
        let (Some(versions), Request::SessionSwap { id, value, .. }) = (&self.versions, request)
        else {
            return Cow::Borrowed(request);
        };
        let expected = versions.lock().get(id).cloned();
        Cow::Owned(Request::SessionSwap { id: id.clone(), value: *value, expected })
    }

    /// Notes what an answer tells of a session.
    fn note_version(&self, request: &Request, outcome: &Outcome) {
        let (Some(versions), Some(id)) = (&self.versions, request.session()) else { return };
        let Outcome::Answered(answer) = outcome else { return };
        if let Some(version) = &answer.version {
            versions.lock().insert(id.to_owned(), version.clone());
        } else if answer.status == 404 || matches!(request, Request::SessionDelete { .. }) {
            versions.lock().remove(id);
        }
    }

    /// Why an outcome is no success: where others write and delete as well, a condition that does not
    /// hold and a session that is absent are none.
    fn failure(&self, class: Class, outcome: &Outcome) -> Option<ErrorKind> {
        outcome.error().filter(|error| match (class, error) {
            (Class::SessionSwap, ErrorKind::Status(412)) => false,
            (Class::SessionRead | Class::SessionDelete, ErrorKind::Status(404)) => !self.deletes,
            _ => true,
        })
    }
}

/// A request and when it is due.
#[derive(Debug)]
struct Arrival {
    due: Instant,
    request: Request,
}

/// Writes every session once, closed loop, before the load begins; answers how many writes failed.
/// `begin` is where the times in the history count from.
pub async fn fill<T: Target>(
    target: &Arc<T>,
    writes: Vec<Request>,
    deadline: Duration,
    history: Option<&Arc<History>>,
    begin: Instant,
) -> u64 {
    let mut failed = 0;
    let mut under_way: JoinSet<Outcome> = JoinSet::new();
    for request in writes {
        if under_way.len() >= FILL_AT_ONCE
            && let Some(Ok(outcome)) = under_way.join_next().await
        {
            failed += u64::from(outcome.error().is_some());
        }
        let target = Arc::clone(target);
        let history = history.map(Arc::clone);
        under_way.spawn(async move {
            let start = Instant::now();
            let outcome = target.send(&request, deadline).await;
            let times = Times { due: start, start, end: Instant::now() };
            remember(history.as_deref(), begin, 0, &request, times, &outcome);
            outcome
        });
    }
    while let Some(ended) = under_way.join_next().await {
        failed += ended.map_or(1, |outcome| u64::from(outcome.error().is_some()));
    }
    failed
}

/// Sends requests open loop until the schedule ends or `stop` comes, waits for those under way, and
/// answers what was measured. `begin` is where the times in the history count from.
///
/// # Errors
/// When the pacing thread cannot be started.
///
/// # Cancel safety
/// Dropping the future ends all requests; the pacing thread ends within 50 ms.
pub async fn run<T: Target>(
    target: &Arc<T>,
    requests: Requests,
    options: &Options,
    history: Option<Arc<History>>,
    begin: Instant,
    stop: impl Future<Output = ()>,
) -> io::Result<Measured> {
    let first = Instant::now();
    let classes: Vec<Class> = requests.workload().classes().collect();
    let tally =
        Tally::new(first + options.warm_up, options.duration, LATE_START, classes.into_iter());
    let asks = |class| requests.workload().classes().any(|asked| asked == class);
    let book = Arc::new(Book {
        begin,
        tally: Mutex::new(tally),
        history,
        versions: asks(Class::SessionSwap).then(Mutex::default),
        deletes: asks(Class::SessionDelete),
    });
    let (sender, receiver) = mpsc::channel(options.backlog());
    let stopped = Arc::new(AtomicBool::new(false));
    let arrivals =
        Arrivals::new(options.rate, options.warm_up.saturating_add(options.duration), options.seed);
    // A thread of its own: timers of the runtime have a resolution of a millisecond, which is longer
    // than most of what is measured.
    let pacing = {
        let (book, stopped) = (Arc::clone(&book), Arc::clone(&stopped));
        thread::Builder::new()
            .name("bench-pacer".to_owned())
            .spawn(move || pace(first, arrivals, requests, &sender, &book, &stopped))?
    };
    {
        let serving = serve(target, receiver, options, &book);
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => {}
            () = stop => {
                stopped.store(true, Ordering::Relaxed);
                serving.await;
            }
        }
    }
    // It has ended: it alone held the sender, and the channel is closed.
    let _panicked = pacing.join();
    let last = first + options.warm_up + options.duration;
    let end = Instant::now().min(last);
    let stopped = stopped.load(Ordering::Relaxed);
    let book = Arc::into_inner(book)
        .ok_or_else(|| io::Error::other("a request is still being counted"))?;
    let mut tally = book.tally.into_inner();
    tally.close(end);
    let measured = end.saturating_duration_since(first + options.warm_up);
    Ok(Measured { tally, measured, stopped })
}

/// Puts each request into the backlog when it falls due.
fn pace(
    first: Instant,
    arrivals: Arrivals,
    mut requests: Requests,
    backlog: &mpsc::Sender<Arrival>,
    book: &Book,
    stopped: &AtomicBool,
) {
    for after in arrivals {
        let due = first + after;
        let request = requests.next_request();
        loop {
            if stopped.load(Ordering::Relaxed) || backlog.is_closed() {
                return;
            }
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            thread::sleep(wait.min(NAP));
        }
        let class = request.class();
        if backlog.try_send(Arrival { due, request }).is_err() {
            book.tally.lock().not_started(class, due);
        }
    }
}

/// Sends what comes out of the backlog on so many connections, until it is closed and empty.
async fn serve<T: Target>(
    target: &Arc<T>,
    backlog: mpsc::Receiver<Arrival>,
    options: &Options,
    book: &Arc<Book>,
) {
    let backlog = Arc::new(AsyncMutex::new(backlog));
    let mut connections = JoinSet::new();
    // Before the run it was connection 0.
    for connection in (1..).take(options.connections.max(1)) {
        let (target, backlog, book) = (Arc::clone(target), Arc::clone(&backlog), Arc::clone(book));
        let deadline = options.deadline;
        connections.spawn(async move {
            loop {
                // The guard is dropped with this statement: one waits for the next arrival, the
                // others for their turn.
                let next = backlog.lock().await.recv().await;
                let Some(arrival) = next else { return };
                exchange(&*target, connection, &arrival, deadline, &book).await;
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn exchange<T: Target>(
    target: &T,
    connection: u64,
    arrival: &Arrival,
    deadline: Duration,
    book: &Book,
) {
    let Arrival { due, request } = arrival;
    let start = Instant::now();
    if start.saturating_duration_since(*due) >= deadline {
        book.tally.lock().not_started(request.class(), *due);
        return;
    }
    let request = book.sent(request);
    let outcome = target.send(&request, deadline).await;
    let times = Times { due: *due, start, end: Instant::now() };
    book.note_version(&request, &outcome);
    remember(book.history.as_deref(), book.begin, connection, &request, times, &outcome);
    let class = request.class();
    book.tally.lock().record(class, times, &outcome, book.failure(class, &outcome));
}

/// Notes a call on a session in the history.
fn remember(
    history: Option<&History>,
    begin: Instant,
    client: u64,
    request: &Request,
    times: Times,
    outcome: &Outcome,
) {
    let (Some(history), Some(key)) = (history, request.session()) else { return };
    let (kind, written, expected) = match request {
        Request::Listing { .. } | Request::Search { .. } => return,
        Request::SessionRead { .. } => (Kind::Read, None, None),
        Request::SessionDelete { .. } => (Kind::Delete, None, None),
        Request::SessionWrite { value, .. } => (Kind::Put, Some(*value), None),
        Request::SessionSwap { value, expected: None, .. } => (Kind::Create, Some(*value), None),
        Request::SessionSwap { value, expected, .. } => {
            (Kind::Put, Some(*value), expected.as_deref())
        }
    };
    let micros = |at: Instant| {
        u64::try_from(at.saturating_duration_since(begin).as_micros()).unwrap_or(u64::MAX)
    };
    let known = Known::of(kind, expected.is_some() || kind == Kind::Create, outcome);
    let answer = match outcome {
        Outcome::Answered(answer) if known == Known::Ok => Some(answer),
        Outcome::Answered(_) | Outcome::NotConnected | Outcome::Broken | Outcome::TimedOut => None,
    };
    let created =
        answer.filter(|_answer| kind == Kind::Put).and_then(|answer| match answer.status {
            200 => Some(false),
            201 => Some(true),
            _ => None,
        });
    history.record(&Record {
        kind,
        client,
        start_us: micros(times.start),
        end_us: micros(times.end),
        key: key.to_owned(),
        value: written.or_else(|| answer?.value),
        outcome: known,
        version: answer.and_then(|answer| answer.version.clone()),
        if_match: expected.map(str::to_owned),
        created,
    });
}

#[cfg(test)]
mod tests;
