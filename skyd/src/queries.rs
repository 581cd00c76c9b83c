//! Query slots: run blocking queries with a limit on concurrency, a timeout, and cancellation.
//!
//! A query takes a free slot. While all slots are occupied, a query may begin in one of a few
//! reserved slots with a short time limit; if it exceeds the limit, it is interrupted and starts
//! again once it gets a regular slot (a multilevel feedback queue with two levels). Therefore, a
//! short query never waits for the end of long queries. Slots are shared fairly between clients;
//! see [`FairSlots`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use skylib::engine::Engine;
use tokio::time::{Instant, timeout_at};

use crate::fair_slots::{ClientKey, FairSlot, FairSlots, Order};

/// Bounded set of slots in which queries run.
#[derive(Clone, Debug)]
pub(crate) struct QuerySlots {
    /// Regular slots, in which only the timeout limits the time of a query.
    ///
    /// A query holds its slot until its work returns, even if the caller no longer waits for the
    /// result: otherwise, queries that ignore the interrupt could exceed the limit.
    long: Arc<FairSlots>,
    /// Reserved slots, for queries that have not yet turned out to be long.
    short: Arc<FairSlots>,
    timeout: Duration,
}

impl QuerySlots {
    /// Creates `count` slots; an eighth of them is reserved for short queries, and one client can
    /// hold at most three quarters of the others. `timeout` limits both the wait for a slot and the
    /// time in it.
    pub(crate) fn new(count: usize, timeout: Duration) -> Self {
        let short = count / 8;
        let long = count - short;
        Self {
            long: FairSlots::new(long, long - long / 4, Order::OldestFirst),
            short: FairSlots::new(short, short, Order::NewestFirst),
            timeout,
        }
    }

    /// Returns the number of occupied slots.
    pub(crate) fn running(&self) -> usize {
        self.long.held() + self.short.held()
    }

    /// Runs blocking work on a thread of the blocking pool, once a slot is free.
    ///
    /// The work receives an [`Interrupt`], which is set at the timeout and when the returned future
    /// is dropped.
    ///
    /// # Errors
    /// Returns [`QueryFailure`] if no slot becomes free in time, or the work exceeds the timeout or
    /// panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: &ClientKey,
        engine: &Engine,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        let slot = tokio::time::timeout(self.timeout, self.long.acquire(client)).await;
        let slot = slot.map_err(|_| QueryFailure::NoSlot(self.timeout))?;
        let (result, _) = self.run_in(slot, None, engine, work).await?;
        Ok(result)
    }

    /// Runs work like [`QuerySlots::run`], but possibly twice: if only a reserved slot is free, the
    /// first run has a short time limit. The work must have no effect other than its result.
    ///
    /// # Errors
    /// Returns the errors of [`QuerySlots::run`].
    pub(crate) async fn run_repeatable<T: Send + 'static>(
        &self,
        client: &ClientKey,
        engine: &Engine,
        work: impl Fn(&Engine, &Interrupt) -> T + Send + Sync + 'static,
    ) -> Result<T, QueryFailure> {
        let work = Arc::new(work);
        let run_in = |slot, limit| {
            let work = Arc::clone(&work);
            self.run_in(slot, limit, engine, move |engine, interrupt| {
                work(engine, interrupt)
            })
        };
        let no_slot = |_| QueryFailure::NoSlot(self.timeout);
        let deadline = Instant::now() + self.timeout;
        let mut long = std::pin::pin!(timeout_at(deadline, self.long.acquire(client)));
        let slot = tokio::select! {
            biased;
            slot = long.as_mut() => slot.map_err(no_slot)?,
            slot = self.short.acquire(client) => {
                let (result, is_complete) = run_in(slot, Some(SHORT)).await?;
                if is_complete {
                    return Ok(result);
                }
                long.await.map_err(no_slot)?
            }
        };
        Ok(run_in(slot, None).await?.0)
    }

    /// Runs work in a slot. Returns its result, and whether the work ended without being
    /// interrupted by `limit`.
    async fn run_in<T: Send + 'static>(
        &self,
        slot: FairSlot,
        limit: Option<TimeLimit>,
        engine: &Engine,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<(T, bool), QueryFailure> {
        let timeout = self.timeout;
        let (interrupt, _guard) = Interrupt::new();
        let engine = engine.clone();
        let running = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let interrupt = interrupt.with_limit(limit);
            let result = work(&engine, &interrupt);
            (result, !interrupt.exceeded.load(Ordering::Relaxed))
        });
        match tokio::time::timeout(timeout, running).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(QueryFailure::Stopped),
            Err(_) => Err(QueryFailure::Timeout(timeout)),
        }
    }
}

/// Flag that requests a running query to stop.
#[derive(Debug)]
pub(crate) struct Interrupt {
    stop: Arc<AtomicBool>,
    /// Time limit of a reserved slot, with the start as wall-clock time and as CPU time; `None` for
    /// no limit.
    limit: Option<(TimeLimit, Instant, Duration)>,
    /// Whether [`Interrupt::is_set`] has reported to the query that it exceeded the limit.
    exceeded: AtomicBool,
}

/// Time limit of a query in a reserved slot. On a busy machine, a query gets little CPU time: it
/// may exceed `wall` until it has used `processor`, but must not exceed `longest`.
#[derive(Clone, Copy, Debug)]
struct TimeLimit {
    wall: Duration,
    processor: Duration,
    longest: Duration,
}

/// Client key under which all subscriptions together run queries, so that they leave slots to
/// requests.
pub(crate) const SUBSCRIPTIONS: &str = "subscriptions";
/// Time limit of short queries.
const SHORT: TimeLimit = TimeLimit {
    wall: Duration::from_millis(100),
    processor: Duration::from_millis(50),
    longest: Duration::from_millis(500),
};

/// Guard that sets an [`Interrupt`] when dropped.
pub(crate) struct InterruptGuard(Arc<AtomicBool>);

impl Interrupt {
    /// Creates a flag and the guard that sets it when dropped.
    pub(crate) fn new() -> (Self, InterruptGuard) {
        let stop = Arc::new(AtomicBool::new(false));
        let guard = InterruptGuard(Arc::clone(&stop));
        let interrupt = Self {
            stop,
            limit: None,
            exceeded: AtomicBool::new(false),
        };
        (interrupt, guard)
    }

    /// Starts the clocks of a time limit. Must be called on the thread of the query.
    fn with_limit(mut self, limit: Option<TimeLimit>) -> Self {
        self.limit = limit.map(|limit| (limit, Instant::now(), processor_time()));
        self
    }

    /// Returns whether the query should stop.
    pub(crate) fn is_set(&self) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return true;
        }
        let Some((limit, began, processor_began)) = &self.limit else {
            return false;
        };
        let elapsed = began.elapsed();
        let is_over = elapsed >= limit.wall
            && (elapsed >= limit.longest
                || processor_time().saturating_sub(*processor_began) >= limit.processor);
        if is_over {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        is_over
    }
}

/// Returns the CPU time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .unwrap_or_default()
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reason why a query has no result.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum QueryFailure {
    /// The query exceeded the timeout.
    #[error("query timed out after {} s (http.limits.query_timeout)", .0.as_secs_f64())]
    Timeout(Duration),
    /// All slots were occupied during the whole timeout.
    #[error(
        "timed out after {} s waiting for a query slot (http.limits.queries)",
        .0.as_secs_f64()
    )]
    NoSlot(Duration),
    /// The daemon is shutting down, or the query panicked.
    #[error("the query was stopped")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;
    use skylib::engine::EngineOptions;
    use tokio::time::Instant;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);

    fn key() -> ClientKey {
        "client".into()
    }

    fn one_slot(timeout: Duration) -> (QuerySlots, Engine) {
        let engine = Engine::start(EngineOptions::new("test")).unwrap();
        (QuerySlots::new(1, timeout), engine)
    }

    /// Returns work that runs until it is interrupted, and then sends a message.
    fn endless(done: mpsc::Sender<()>) -> impl FnOnce(&Engine, &Interrupt) + Send {
        move |_, interrupt| {
            while !interrupt.is_set() {
                std::thread::yield_now();
            }
            done.send(()).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_whose_client_disconnects_is_interrupted() {
        let (slots, engine) = one_slot(HOUR);
        let (done, stopped) = mpsc::channel();
        {
            let key = key();
            let mut waiting = std::pin::pin!(slots.run(&key, &engine, endless(done)));
            // The first poll starts the work; dropping the future is what a disconnect does.
            assert!((&mut waiting).now_or_never().is_none());
        }
        stopped.recv_timeout(Duration::from_secs(20)).unwrap();
        let next = slots
            .run(&key(), &engine, |engine, _| engine.host().to_owned())
            .await;
        assert_eq!(next.unwrap(), "test", "its slot is free again");
        engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_exceeds_the_timeout_is_ended() {
        let (slots, engine) = one_slot(SHORT);
        let (done, stopped) = mpsc::channel();
        let failure = slots.run(&key(), &engine, endless(done)).await.unwrap_err();
        let text = "query timed out after 0.05 s (http.limits.query_timeout)";
        assert_eq!(failure.to_string(), text);
        stopped.recv_timeout(Duration::from_secs(20)).unwrap();
        engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_ignores_the_interrupt_holds_its_slot() {
        let (slots, engine) = one_slot(SHORT);
        let (release, held) = mpsc::channel::<()>();
        let stubborn = slots.run(&key(), &engine, move |_, _| held.recv()).await;
        assert!(matches!(stubborn, Err(QueryFailure::Timeout(_))));
        assert_eq!(slots.running(), 1);
        let second = slots.run(&key(), &engine, |_, _| ()).await.unwrap_err();
        let text = "timed out after 0.05 s waiting for a query slot (http.limits.queries)";
        assert_eq!(second.to_string(), text);
        drop(release);
        let began = Instant::now();
        while slots.run(&key(), &engine, |_, _| ()).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_panics_fails_alone() {
        let (slots, engine) = one_slot(HOUR);
        let key = key();
        let failed = slots.run(&key, &engine, |_, _| panic!("a fault in our code"));
        let failed: Result<(), QueryFailure> = failed.await;
        assert!(matches!(failed, Err(QueryFailure::Stopped)));
        assert!(slots.run(&key, &engine, |_, _| ()).await.is_ok());
        engine.stop();
    }

    /// All slots that are not reserved are held by queries that only end with the test.
    #[tokio::test(flavor = "multi_thread")]
    async fn short_queries_do_not_wait_for_long_ones() {
        let engine = Engine::start(EngineOptions::new("test")).unwrap();
        let slots = QuerySlots::new(8, HOUR);
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let blockers: Vec<_> = (0..7)
            .map(|n| {
                let (slots, engine, held) = (slots.clone(), engine.clone(), Arc::clone(&held));
                let client: ClientKey = n.to_string().into();
                let work = move |_: &Engine, _: &Interrupt| held.lock().unwrap().recv().is_ok();
                tokio::spawn(async move { slots.run(&client, &engine, work).await })
            })
            .collect();
        while slots.running() < 7 {
            tokio::task::yield_now().await;
        }
        let short = slots.run_repeatable(&key(), &engine, |_, _| 5).await;
        assert_eq!(short.unwrap(), 5);
        // A query that proves to be long is interrupted, and runs again when a slot is free.
        let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let long = tokio::spawn({
            let (slots, engine) = (slots.clone(), engine.clone());
            async move {
                let work = move |_: &Engine, interrupt: &Interrupt| {
                    let run = counter.fetch_add(1, Ordering::Relaxed);
                    while run == 0 && !interrupt.is_set() {
                        std::thread::yield_now();
                    }
                    run
                };
                slots.run_repeatable(&key(), &engine, work).await
            }
        });
        while runs.load(Ordering::Relaxed) == 0 || slots.running() == 8 {
            tokio::task::yield_now().await;
        }
        assert!(!long.is_finished());
        drop(release);
        assert_eq!(
            long.await.unwrap().unwrap(),
            1,
            "the result of the second run"
        );
        for blocker in blockers {
            blocker.await.unwrap().unwrap();
        }
        engine.stop();
    }
}
