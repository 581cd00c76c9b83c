//! Query slots: run blocking queries with a bounded number at a time, a timeout and cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skylib::engine::Engine;
use tokio::sync::Semaphore;

/// Bounded set of slots in which queries run.
#[derive(Clone, Debug)]
pub(crate) struct QuerySlots {
    /// Holds one permit for each free slot; `0 <= available <= count`.
    ///
    /// A query holds its permit until its work returns, even if no caller waits for it any more:
    /// otherwise queries that ignore the interrupt could exceed the limit.
    free: Arc<Semaphore>,
    count: usize,
    timeout: Duration,
}

impl QuerySlots {
    /// Creates `count` slots. `timeout` bounds the wait for a slot and the time in it, each.
    pub(crate) fn new(count: usize, timeout: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            count,
            timeout,
        }
    }

    /// Returns the number of occupied slots.
    pub(crate) fn running(&self) -> usize {
        self.count.saturating_sub(self.free.available_permits())
    }

    /// Runs blocking work on a thread of the blocking pool, once a slot is free.
    ///
    /// The work receives an [`Interrupt`], which is set at the timeout and when the returned future
    /// is dropped.
    ///
    /// # Errors
    /// [`QueryFailure`] if no slot gets free in time, or the work exceeds the timeout or panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        engine: &Engine,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        let timeout = self.timeout;
        let slot = Arc::clone(&self.free).acquire_owned();
        let slot = match tokio::time::timeout(timeout, slot).await {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) => return Err(QueryFailure::Stopped),
            Err(_) => return Err(QueryFailure::NoSlot(timeout)),
        };
        let (interrupt, _guard) = Interrupt::new();
        let engine = engine.clone();
        let running = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work(&engine, &interrupt)
        });
        match tokio::time::timeout(timeout, running).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(QueryFailure::Stopped),
            Err(_) => Err(QueryFailure::Timeout(timeout)),
        }
    }
}

/// Flag by which a running query learns that it should stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

/// Guard that sets an [`Interrupt`] when dropped.
pub(crate) struct InterruptGuard(Arc<AtomicBool>);

impl Interrupt {
    /// Creates a flag and the guard that sets it.
    pub(crate) fn new() -> (Self, InterruptGuard) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&flag)), InterruptGuard(flag))
    }

    /// Returns whether the query should stop.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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
            let mut waiting = std::pin::pin!(slots.run(&engine, endless(done)));
            // The first poll starts the work; dropping the future is what a disconnect does.
            assert!((&mut waiting).now_or_never().is_none());
        }
        stopped.recv_timeout(Duration::from_secs(20)).unwrap();
        let next = slots
            .run(&engine, |engine, _| engine.host().to_owned())
            .await;
        assert_eq!(next.unwrap(), "test", "its slot is free again");
        engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_exceeds_the_timeout_is_ended() {
        let (slots, engine) = one_slot(SHORT);
        let (done, stopped) = mpsc::channel();
        let failure = slots.run(&engine, endless(done)).await.unwrap_err();
        let text = "query timed out after 0.05 s (http.limits.query_timeout)";
        assert_eq!(failure.to_string(), text);
        stopped.recv_timeout(Duration::from_secs(20)).unwrap();
        engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_ignores_the_interrupt_holds_its_slot() {
        let (slots, engine) = one_slot(SHORT);
        let (release, held) = mpsc::channel::<()>();
        let stubborn = slots.run(&engine, move |_, _| held.recv()).await;
        assert!(matches!(stubborn, Err(QueryFailure::Timeout(_))));
        assert_eq!(slots.running(), 1);
        let second = slots.run(&engine, |_, _| ()).await.unwrap_err();
        let text = "timed out after 0.05 s waiting for a query slot (http.limits.queries)";
        assert_eq!(second.to_string(), text);
        drop(release);
        let began = Instant::now();
        while slots.run(&engine, |_, _| ()).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_panics_fails_alone() {
        let (slots, engine) = one_slot(HOUR);
        let failed = slots.run(&engine, |_, _| panic!("a fault in our code"));
        let failed: Result<(), QueryFailure> = failed.await;
        assert!(matches!(failed, Err(QueryFailure::Stopped)));
        assert!(slots.run(&engine, |_, _| ()).await.is_ok());
        engine.stop();
    }
}
