//! `Webhooks`: sends the messages of alerts to HTTP servers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use skylib::engine::{WebhookClient, WebhookDone};
use tokio::runtime::Handle;
use tokio_rustls::rustls::RootCertStore;

use crate::http_client::{self, Server};
use crate::urlencoded::percent_decoded;

/// Client for webhooks, on the daemon's async runtime.
pub(crate) struct Webhooks {
    runtime: Handle,
    /// Authorities trusted in addition to those of the system.
    authorities: Option<RootCertStore>,
}

impl Webhooks {
    /// Returns a client that uses a runtime.
    pub(crate) const fn new(runtime: Handle, authorities: Option<RootCertStore>) -> Self {
        Self {
            runtime,
            authorities,
        }
    }
}

impl WebhookClient for Webhooks {
    fn post(&self, url: &str, json: Bytes, timeout: Duration, done: WebhookDone) {
        let (url, authorities) = (url.to_owned(), self.authorities.clone());
        self.runtime.spawn(async move {
            let outcome = tokio::time::timeout(timeout, post(&url, json, authorities)).await;
            done(match outcome {
                Ok(Ok(status)) => Ok(status),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err(format!("no response within {} s", timeout.as_secs_f64())),
            });
        });
    }
}

/// Sends JSON to a URL and returns the status of the response, whose body is ignored.
async fn post(url: &str, json: Bytes, authorities: Option<RootCertStore>) -> anyhow::Result<u16> {
    let uri: Uri = url.parse()?;
    let server = Server::of(&uri, || http_client::connector(authorities))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("skyd/", env!("CARGO_PKG_VERSION")));
    if let Some(credentials) = credentials(&uri) {
        request = request.header(AUTHORIZATION, credentials);
    }
    let request = request.body(Full::new(json))?;
    Ok(server.send_for_status(request).await?.as_u16())
}

/// Returns the credentials of a URL such as `http://user:password@host`, if it contains any.
fn credentials(uri: &Uri) -> Option<HeaderValue> {
    let (user, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let pair = format!("{}:{}", percent_decoded(name), percent_decoded(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Sends a message to a URL and returns the outcome.
    async fn outcome(url: String, timeout: Duration) -> Result<u16, String> {
        let (send, receive) = tokio::sync::oneshot::channel();
        let webhooks = Webhooks::new(Handle::current(), None);
        let json = Bytes::from_static(b"{\"a\":1}");
        webhooks.post(
            &url,
            json,
            timeout,
            Box::new(|result| drop(send.send(result))),
        );
        receive.await.unwrap()
    }

    #[tokio::test]
    async fn a_message_is_posted_and_any_status_is_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, requests) = mpsc::channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"{\"a\":1}") {
                stream.read_buf(&mut text).await.unwrap();
            }
            send.send(String::from_utf8(text).unwrap()).unwrap();
            let answer = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(answer).await.unwrap();
        });
        let url = format!("http://{address}/in?x=1");
        assert_eq!(outcome(url, Duration::from_secs(20)).await, Ok(503));
        let request = requests.recv().unwrap();
        assert!(
            request.starts_with("POST /in?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        let request = request.to_ascii_lowercase();
        for header in ["content-length: 7", "connection: close", "host: 127.0.0.1:"] {
            assert!(request.contains(header), "{request}");
        }
    }

    #[tokio::test]
    async fn the_body_of_an_answer_is_ignored_whatever_its_length() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"{\"a\":1}") {
                stream.read_buf(&mut text).await.unwrap();
            }
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let url = format!("http://{address}/");
        assert_eq!(outcome(url, Duration::from_secs(20)).await, Ok(200));
    }

    #[test]
    fn credentials_of_a_url_are_sent() {
        let header = |url: &str| credentials(&url.parse().unwrap());
        assert_eq!(header("http://h/a@b"), None);
        for (url, pair) in [("http://u:p%40w@h:1/", "u:p@w"), ("http://u@h/", "u:")] {
            let expected = format!("Basic {}", STANDARD.encode(pair));
            assert_eq!(header(url).unwrap(), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_or_refuses_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let hanging = outcome(url.clone(), Duration::from_millis(50)).await;
        assert_eq!(hanging, Err("no response within 0.05 s".to_owned()));
        drop(listener);
        assert!(outcome(url, Duration::from_secs(20)).await.is_err());
        let invalid = outcome("http://".to_owned(), Duration::from_secs(20)).await;
        assert!(invalid.is_err());
    }
}
