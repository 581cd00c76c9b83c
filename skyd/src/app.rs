//! What every handler works with: the engine, the limits, who is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use skylib::engine::{Engine, SubscribeOptions};
use skylib::spp::SppCtl;
use tokio::sync::Semaphore;

use crate::auth::Auth;
use crate::budget::{Budget, NoRoom};
use crate::config::Config;
use crate::datagrams::FlowTransport;
use crate::options::ReplacedBackend;
use crate::requests::Requests;
use crate::respond::{self, Response};
use crate::socket::Connections;
use crate::tls::Tls;
use crate::upload::{UploadLimits, Uploads};
use crate::ws::Pools;

/// The daemon, as its handlers see it.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) auth: Auth,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: Limits,
    pub(crate) config: Config,
    pub(crate) connections: Arc<Connections>,
    pub(crate) incoming: Arc<Budget>,
    pub(crate) uploads: Uploads,
    pub(crate) requests: Requests,
    pub(crate) pools: Pools,
    pub(crate) flow_transport: FlowTransport,
    /// SPP's processes, if any are configured.
    pub(crate) spp: Option<Arc<SppCtl>>,
    /// Store backends that were asked for and are not there, for the status.
    pub(crate) replaced_backends: Vec<ReplacedBackend>,
    /// A turn is over when its work is, not when nobody waits for it any more.
    queries: Arc<Semaphore>,
}

/// Bounds of what clients may do.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) header_bytes: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_bytes: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) query_timeout: Duration,
    pub(crate) ping_delay: Duration,
    pub(crate) pong_timeout: Duration,
    pub(crate) ws_message_bytes: usize,
    pub(crate) ws_queue_bytes: usize,
    pub(crate) ws_queue_messages: usize,
    pub(crate) queries: usize,
    pub(crate) live_queries: usize,
}

impl App {
    pub(crate) fn new(
        engine: Engine,
        config: &Config,
        auth: Auth,
        tls: Option<Tls>,
        flow_transport: FlowTransport,
        replaced_backends: Vec<ReplacedBackend>,
    ) -> Self {
        let limits = Limits {
            header_bytes: config.bytes("http.limits.header_bytes"),
            header_timeout: config.duration("http.limits.header_timeout"),
            body_bytes: config.bytes("http.limits.body_bytes"),
            body_timeout: config.duration("http.limits.body_timeout"),
            write_timeout: config.duration("http.limits.write_timeout"),
            query_timeout: config.duration("http.limits.query_timeout"),
            ping_delay: config.duration("http.ws.ping_delay"),
            pong_timeout: config.duration("http.ws.pong_timeout"),
            ws_message_bytes: config.bytes("http.limits.ws_message_bytes"),
            ws_queue_bytes: config.bytes("http.limits.ws_queue_bytes"),
            ws_queue_messages: config.count("http.ws.queue_size"),
            queries: config.count("http.limits.queries"),
            live_queries: config.count("http.limits.live_queries"),
        };
        let patience = limits.body_timeout;
        Self {
            engine,
            queries: Arc::new(Semaphore::new(limits.queries)),
            auth,
            tls,
            limits,
            config: config.clone(),
            connections: Connections::new(config.count("http.limits.connections")),
            incoming: Budget::new(config.bytes("http.limits.incoming_bytes")),
            requests: Requests::default(),
            uploads: Uploads::new(UploadLimits {
                count: config.count("http.limits.uploads"),
                bytes: config.bytes("http.limits.upload_bytes") as u64,
                patience,
            }),
            pools: Pools::default(),
            flow_transport,
            spp: None,
            replaced_backends,
        }
    }

    /// The queue of one WebSocket client; no namespaces means all.
    pub(crate) fn subscribe_options(&self, namespaces: Option<Vec<String>>) -> SubscribeOptions {
        let mut options = SubscribeOptions::default()
            .with_max_messages(self.limits.ws_queue_messages)
            .with_max_bytes(self.limits.ws_queue_bytes);
        options.namespaces = namespaces;
        options
    }

    /// Queries that have their turn.
    pub(crate) fn queries_running(&self) -> usize {
        let free = self.queries.available_permits();
        self.limits.queries.saturating_sub(free)
    }

    /// Runs blocking work with the engine on a thread that may block, within the time and the
    /// number of queries there may be. The work is told to stop when the caller goes away.
    pub(crate) async fn run_query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        let timeout = self.limits.query_timeout;
        let turn = Arc::clone(&self.queries).acquire_owned();
        let turn = match tokio::time::timeout(timeout, turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(QueryFailure::Stopped),
            Err(_) => return Err(QueryFailure::NoTurn(timeout)),
        };
        let (interrupt, _guard) = Interrupt::new();
        let engine = self.engine.clone();
        let running = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&engine, &interrupt)
        });
        match tokio::time::timeout(timeout, running).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(QueryFailure::Stopped),
            Err(_) => Err(QueryFailure::TooLong(timeout)),
        }
    }

    /// Reads a request's body as text; what is not UTF-8 becomes U+FFFD.
    pub(crate) async fn read_body(&self, body: Incoming) -> Result<String, Response> {
        let bytes = self.read_bytes(body, self.limits.body_bytes).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads a form; nothing of the body is left.
    pub(crate) async fn read_form(&self, body: &mut Incoming) -> Result<String, Response> {
        let limit = self.limits.body_bytes.min(LONGEST_FORM);
        let bytes = self.read_bytes(body, limit).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn read_bytes<B>(&self, body: B, limit: usize) -> Result<Bytes, Response>
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
    {
        let is_too_long = body.size_hint().lower() > limit as u64;
        let whole = self.gather(Limited::new(body, limit));
        let mut refusal = match tokio::time::timeout(self.limits.body_timeout, whole) {
            _ if is_too_long => too_long(limit),
            arriving => match arriving.await {
                Ok(Ok(whole)) => return Ok(whole),
                Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(limit),
                Ok(Err(error)) if error.is::<NoRoom>() => {
                    respond::error_text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
                }
                Ok(Err(error)) => respond::bad_request(&*error),
                Err(_) => {
                    let text = "the body took too long to arrive (http.limits.body_timeout)";
                    respond::error_text(StatusCode::REQUEST_TIMEOUT, text)
                }
            },
        };
        // The rest of the body is not read, so the next request could not be found.
        respond::close(refusal.headers_mut());
        Err(refusal)
    }

    /// All of a body, within what all clients may send at a time.
    async fn gather<B>(&self, mut body: Limited<B>) -> Result<Bytes, BoxError>
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
    {
        let mut claim = self.incoming.claim();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                claim.grow_to(whole.len() + data.len())?;
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole.freeze())
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn too_long(limit: usize) -> Response {
    let text = format!("the body is longer than {limit} bytes (http.limits.body_bytes)");
    respond::error_text(StatusCode::PAYLOAD_TOO_LARGE, &text)
}

/// User and password, or a token; no form has more.
const LONGEST_FORM: usize = 64 << 10;

/// Tells a running query whether to give up.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

/// Interrupts when dropped: the caller has its answer or does not want it any more.
pub(crate) struct InterruptGuard(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn new() -> (Self, InterruptGuard) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&flag)), InterruptGuard(flag))
    }

    /// Whether to give up.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a query has no result of its own.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum QueryFailure {
    /// It took too long.
    #[error("the query was ended after {} s (http.limits.query_timeout)", .0.as_secs_f64())]
    TooLong(Duration),
    /// Too many others were running all the time.
    #[error("no turn for the query in {} s (http.limits.queries)", .0.as_secs_f64())]
    NoTurn(Duration),
    /// The daemon ends, or the query met a fault in our code.
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
    use crate::auth;
    use crate::config::Sources;

    fn app(setting: &str) -> App {
        let settings = vec!["http.limits.queries=1".to_owned(), setting.to_owned()];
        let config = Config::load(&Sources {
            settings,
            ..Sources::default()
        })
        .unwrap();
        let engine = Engine::start(EngineOptions::new("test")).unwrap();
        let auth = auth::from_config(&config).unwrap();
        App::new(
            engine,
            &config,
            auth,
            None,
            FlowTransport::WebSocket,
            Vec::new(),
        )
    }

    /// Runs until told to stop, then says so.
    fn endless(done: mpsc::Sender<()>) -> impl FnOnce(&Engine, &Interrupt) + Send {
        move |_, interrupt| {
            while !interrupt.is_set() {
                std::thread::yield_now();
            }
            done.send(()).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_whose_client_went_away_is_told_to_stop() {
        let app = app("http.limits.query_timeout=1h");
        let (done, stopped) = mpsc::channel();
        {
            let mut waiting = std::pin::pin!(app.run_query(endless(done)));
            // It has begun once it was polled; then its client hangs up.
            assert!((&mut waiting).now_or_never().is_none());
        }
        stopped.recv_timeout(Duration::from_secs(20)).unwrap();
        let next = app.run_query(|engine, _| engine.host().to_owned()).await;
        assert_eq!(next.unwrap(), "test", "its turn is free again");
        app.engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_takes_too_long_is_ended() {
        let app = app("http.limits.query_timeout=50ms");
        let (done, stopped) = mpsc::channel();
        let failure = app.run_query(endless(done)).await.unwrap_err();
        let text = "the query was ended after 0.05 s (http.limits.query_timeout)";
        assert_eq!(failure.to_string(), text);
        stopped.recv_timeout(Duration::from_secs(20)).unwrap();
        app.engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_does_not_stop_keeps_its_turn() {
        let app = app("http.limits.query_timeout=50ms");
        let (release, held) = mpsc::channel::<()>();
        let stubborn = app.run_query(move |_, _| held.recv()).await;
        assert!(matches!(stubborn, Err(QueryFailure::TooLong(_))));
        let second = app.run_query(|_, _| ()).await.unwrap_err();
        let text = "no turn for the query in 0.05 s (http.limits.queries)";
        assert_eq!(second.to_string(), text);
        drop(release);
        let began = Instant::now();
        while app.run_query(|_, _| ()).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        app.engine.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_panics_fails_alone() {
        let app = app("http.limits.query_timeout=1h");
        let failed = app.run_query(|_, _| panic!("a fault in our code")).await;
        let failed: Result<(), QueryFailure> = failed;
        assert!(matches!(failed, Err(QueryFailure::Stopped)));
        assert!(app.run_query(|_, _| ()).await.is_ok());
        app.engine.stop();
    }
}
