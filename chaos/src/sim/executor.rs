//! A single-threaded executor on virtual time, whose tasks live in homes: one home for each life of
//! each simulated node.
//!
//! - Which of the ready tasks runs next follows from the seed, the task and how often it ran; not from
//!   the order in which they were woken. So a library that wakes its waiters in an order of its own
//!   (tokio's watch channel draws lots) changes nothing.
//! - When nothing is ready, time jumps to the next timer or event.
//! - [`Executor::kill`] drops every task of a home wherever it stands, as the death of a process does;
//!   what those tasks would still start is dropped too.
//! - A paused home runs nothing; its timers fall due meanwhile, as in a process that was stopped.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;

use super::random::{Random, mix};

/// Where tasks live: 0 is the world itself.
pub(super) type Home = u64;

/// Virtual time, in nanoseconds. The world begins late enough that earlier times can be named.
pub(super) type Nanos = u64;

/// When the world begins.
pub(super) const BEGIN: Nanos = 1_000_000_000_000;

/// How often one moment may be worked on before it counts as standing still.
const POLLS_PER_MOMENT_MAX: u64 = 2_000_000;

type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that happens at a time, outside any task.
type Event = Box<dyn FnOnce()>;

struct Task {
    home: Home,
    future: Option<TaskFuture>,
    polls: u64,
    waker: Waker,
}

/// Tasks that want to run; wakers are kept by whoever wakes.
#[derive(Default)]
struct Woken(Mutex<Vec<u64>>);

struct TaskWaker {
    id: u64,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.0.lock().push(self.id);
    }
}

/// The executor of one world.
pub(super) struct Executor {
    now: Cell<Nanos>,
    home: Cell<Home>,
    next_task: Cell<u64>,
    next_timer: Cell<u64>,
    salt: u64,
    random: RefCell<Random>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    ready: RefCell<BTreeSet<(u64, u64)>>,
    /// Ready tasks of paused homes.
    held: RefCell<BTreeSet<u64>>,
    woken: Arc<Woken>,
    timers: RefCell<BTreeMap<(Nanos, u64), Waker>>,
    events: RefCell<BTreeMap<(Nanos, u64), Event>>,
    dead: RefCell<BTreeSet<Home>>,
    paused: RefCell<BTreeSet<Home>>,
    /// Homes whose process dies at this very point.
    doomed: RefCell<Vec<Home>>,
    panics: RefCell<Vec<(Home, String)>>,
    polls: Cell<u64>,
}

/// Why [`Executor::run`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The time given was reached.
    Time,
    /// A home is doomed: whoever runs the world must kill it now.
    Doomed(Home),
    /// The world works without time going on.
    Stuck,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor that this thread's world runs on.
pub(super) fn current() -> Option<Rc<Executor>> {
    CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok().flatten()
}

/// Keeps an executor as this thread's until it is dropped.
pub(super) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        // Out of the cell first: what is dropped with it may look for it.
        let gone = CURRENT.with(|current| current.borrow_mut().take());
        drop(gone);
    }
}

impl Executor {
    /// An executor without tasks, as this thread's.
    pub(super) fn enter(seed: u64) -> (Rc<Self>, Entered) {
        let executor = Rc::new(Self {
            now: Cell::new(BEGIN),
            home: Cell::new(0),
            next_task: Cell::new(0),
            next_timer: Cell::new(0),
            salt: mix(seed),
            random: RefCell::new(Random::fork(seed, 1)),
            tasks: RefCell::default(),
            ready: RefCell::default(),
            held: RefCell::default(),
            woken: Arc::default(),
            timers: RefCell::default(),
            events: RefCell::default(),
            dead: RefCell::default(),
            paused: RefCell::default(),
            doomed: RefCell::default(),
            panics: RefCell::default(),
            polls: Cell::new(0),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&executor)));
        (executor, Entered)
    }

    pub(super) fn now(&self) -> Nanos {
        self.now.get()
    }

    pub(super) fn home(&self) -> Home {
        self.home.get()
    }

    /// How many times a task ran so far.
    pub(super) fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// A number for a generator of its own.
    pub(super) fn draw(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Does something as if a task of `home` did it.
    pub(super) fn within<T>(&self, home: Home, act: impl FnOnce() -> T) -> T {
        let before = self.home.replace(home);
        let done = act();
        self.home.set(before);
        done
    }

    /// Starts a task in the home that is at work.
    pub(super) fn spawn(&self, future: TaskFuture) {
        let home = self.home.get();
        if self.dead.borrow().contains(&home) {
            return;
        }
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: Arc::clone(&self.woken) }));
        let task = Task { home, future: Some(future), polls: 0, waker };
        self.tasks.borrow_mut().insert(id, task);
        self.ready.borrow_mut().insert((self.turn(id, 0), id));
    }

    /// Calls `event` when time has come to `at`.
    pub(super) fn at(&self, at: Nanos, event: impl FnOnce() + 'static) {
        let seq = self.timer_number();
        self.events.borrow_mut().insert((at.max(self.now.get()), seq), Box::new(event));
    }

    pub(super) fn timer_number(&self) -> u64 {
        let seq = self.next_timer.get();
        self.next_timer.set(seq + 1);
        seq
    }

    pub(super) fn set_timer(&self, at: Nanos, seq: u64, waker: &Waker) {
        self.timers.borrow_mut().insert((at, seq), waker.clone());
    }

    pub(super) fn cancel_timer(&self, at: Nanos, seq: u64) {
        let gone = self.timers.borrow_mut().remove(&(at, seq));
        drop(gone);
    }

    /// Whether a home's process is gone.
    pub(super) fn is_dead(&self, home: Home) -> bool {
        self.dead.borrow().contains(&home) || self.doomed.borrow().contains(&home)
    }

    /// Whether a home's process stands still.
    pub(super) fn is_paused(&self, home: Home) -> bool {
        self.paused.borrow().contains(&home)
    }

    /// The process of `home` dies here: nothing it does in the rest of this step gets out.
    pub(super) fn doom(&self, home: Home) {
        self.doomed.borrow_mut().push(home);
    }

    /// Drops every task of a home.
    pub(super) fn kill(&self, home: Home) {
        self.dead.borrow_mut().insert(home);
        self.paused.borrow_mut().remove(&home);
        let gone: Vec<Task> = {
            let mut tasks = self.tasks.borrow_mut();
            let ids: Vec<u64> =
                tasks.iter().filter(|(_, task)| task.home == home).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| tasks.remove(&id)).collect()
        };
        self.within(home, || drop(gone));
        self.doomed.borrow_mut().retain(|doomed| *doomed != home);
    }

    /// Stops a home, or lets it go on.
    pub(super) fn pause(&self, home: Home, paused: bool) {
        if paused {
            self.paused.borrow_mut().insert(home);
            return;
        }
        self.paused.borrow_mut().remove(&home);
        let held = std::mem::take(&mut *self.held.borrow_mut());
        self.woken.0.lock().extend(held);
    }

    /// What tasks panicked with so far, and forgets it.
    pub(super) fn take_panics(&self) -> Vec<(Home, String)> {
        std::mem::take(&mut self.panics.borrow_mut())
    }

    /// Runs tasks, timers and events until `until`.
    pub(super) fn run(&self, until: Nanos) -> Stop {
        let mut here = 0_u64;
        loop {
            if let Some(home) = self.doomed.borrow().first().copied() {
                return Stop::Doomed(home);
            }
            self.collect_woken();
            let next = self.ready.borrow_mut().pop_first();
            if let Some((_turn, id)) = next {
                here += 1;
                if here > POLLS_PER_MOMENT_MAX {
                    return Stop::Stuck;
                }
                self.poll(id);
                continue;
            }
            let timer = self.timers.borrow().first_key_value().map(|(key, _)| *key);
            let event = self.events.borrow().first_key_value().map(|(key, _)| *key);
            let Some(next) = timer.into_iter().chain(event).min() else {
                self.now.set(until);
                return Stop::Time;
            };
            if next.0 > until {
                self.now.set(until);
                return Stop::Time;
            }
            if next.0 > self.now.get() {
                self.now.set(next.0);
                here = 0;
            }
            if event == Some(next) {
                let event = self.events.borrow_mut().remove(&next);
                if let Some(event) = event {
                    event();
                }
            } else {
                let waker = self.timers.borrow_mut().remove(&next);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    fn turn(&self, id: u64, polls: u64) -> u64 {
        mix(self.salt ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ polls.rotate_left(32))
    }

    fn collect_woken(&self) {
        let woken = std::mem::take(&mut *self.woken.0.lock());
        if woken.is_empty() {
            return;
        }
        let tasks = self.tasks.borrow();
        let paused = self.paused.borrow();
        for id in woken {
            let Some(task) = tasks.get(&id) else { continue };
            if paused.contains(&task.home) {
                self.held.borrow_mut().insert(id);
            } else {
                self.ready.borrow_mut().insert((self.turn(id, task.polls), id));
            }
        }
    }

    fn poll(&self, id: u64) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else { return };
            if self.paused.borrow().contains(&task.home) {
                self.held.borrow_mut().insert(id);
                return;
            }
            task.polls += 1;
            task.future.take().map(|future| (task.home, future, task.waker.clone()))
        };
        let Some((home, mut future, waker)) = taken else { return };
        self.polls.set(self.polls.get() + 1);
        let polled = self.within(home, || {
            let mut context = Context::from_waker(&waker);
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)))
        });
        match polled {
            Ok(Poll::Pending) => {
                let mut tasks = self.tasks.borrow_mut();
                if let Some(task) = tasks.get_mut(&id) {
                    task.future = Some(future);
                    return;
                }
                drop(tasks);
                self.within(home, || drop(future));
            }
            Ok(Poll::Ready(())) => self.end(id, home, future),
            Err(panic) => {
                let what = panic
                    .downcast_ref::<&str>()
                    .map(ToString::to_string)
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a panic without text".to_owned());
                self.panics.borrow_mut().push((home, what));
                self.end(id, home, future);
            }
        }
    }

    fn end(&self, id: u64, home: Home, future: TaskFuture) {
        let task = self.tasks.borrow_mut().remove(&id);
        self.within(home, || drop((task, future)));
    }

    /// Drops everything: no task, timer or event is left.
    pub(super) fn clear(&self) {
        loop {
            let task = self.tasks.borrow_mut().pop_first();
            let Some((_, task)) = task else { break };
            self.dead.borrow_mut().insert(task.home);
            self.within(task.home, || drop(task));
        }
        let events = std::mem::take(&mut *self.events.borrow_mut());
        drop(events);
        let timers = std::mem::take(&mut *self.timers.borrow_mut());
        drop(timers);
    }
}
