//! Requests of the REST API about resources and queries.

use std::time::Duration;

use anyhow::Context;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::failure::{Failed, Refusal};
use super::http::{Answer, Call, HttpClient, JSON};
use crate::urlencoded::path_segment;

/// Client of the REST API.
pub(super) struct Rest(pub(super) HttpClient);

impl Rest {
    /// Requests all resources of a kind.
    ///
    /// # Errors
    /// Returns [`Failed`] if the server rejects the request, or the errors of the connection.
    pub(super) async fn list(&mut self, kind: &'static str) -> anyhow::Result<Answer> {
        let path = format!("/api/{kind}");
        let answer = self.0.send(Call::new(Method::GET, &path)).await?;
        expect_ok("list", kind, answer).await
    }

    /// Requests a resource.
    ///
    /// # Errors
    /// Returns [`Failed`] if the server rejects the request, or the errors of the connection.
    pub(super) async fn get(&mut self, kind: &'static str, id: &str) -> anyhow::Result<Answer> {
        let answer = self.0.send(Call::new(Method::GET, &path(kind, id))).await?;
        expect_ok("get", kind, answer).await
    }

    /// Creates a resource from its JSON text, with or without a TTL.
    ///
    /// # Errors
    /// Returns [`Failed`] if the server rejects the request, or the errors of the connection.
    pub(super) async fn create(
        &mut self,
        kind: &'static str,
        text: String,
        ttl: Option<Duration>,
    ) -> anyhow::Result<Answer> {
        let path = format!("/api/{kind}");
        let mut call = Call::new(Method::POST, &path).with_json(text);
        call.ttl = ttl.map(|ttl| format!("{}s", ttl.as_secs_f64()));
        let answer = self.0.send(call).await?;
        if answer.status.as_u16() < 400 {
            Ok(answer)
        } else {
            Err(failed("create", kind, answer).await?)
        }
    }

    /// Applies a JSON patch to a resource; returns `None` if the patch changes nothing.
    ///
    /// # Errors
    /// Returns [`Failed`] if the server rejects the request, or the errors of the connection.
    pub(super) async fn update(
        &mut self,
        kind: &'static str,
        id: &str,
        patch: &serde_json::Value,
    ) -> anyhow::Result<Option<Answer>> {
        let path = path(kind, id);
        let call = Call::new(Method::PATCH, &path).with_json(patch.to_string());
        let answer = self.0.send(call).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED => Ok(None),
            status if status.as_u16() < 400 => Ok(Some(answer)),
            _ => Err(failed("update", kind, answer).await?),
        }
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// Returns [`Failed`] if the server rejects the request, or the errors of the connection.
    pub(super) async fn delete(&mut self, kind: &'static str, id: &str) -> anyhow::Result<()> {
        let path = path(kind, id);
        let answer = self.0.send(Call::new(Method::DELETE, &path)).await?;
        let mut answer = expect_ok("delete", kind, answer).await?;
        // The connection can be used again when the response has ended.
        while answer.piece().await?.is_some() {}
        Ok(())
    }

    /// Runs a Gremlin query; the response has the media type `accept`.
    ///
    /// # Errors
    /// Returns [`Refusal`] if the server rejects the request, or the errors of the connection.
    pub(super) async fn query(&mut self, gremlin: &str, accept: &str) -> anyhow::Result<Answer> {
        let text = json!({ "GremlinQuery": gremlin }).to_string();
        let mut call = Call::new(Method::POST, "/api/topology").with_json(text);
        call.accept = accept;
        self.0.send_expecting(call, StatusCode::OK).await
    }

    /// Runs a Gremlin query and returns its whole result.
    ///
    /// # Errors
    /// Returns the errors of [`query`](Self::query), or an error if the response is not JSON.
    pub(super) async fn query_value(&mut self, gremlin: &str) -> anyhow::Result<serde_json::Value> {
        let mut answer = self.query(gremlin, JSON).await?;
        value(&mut answer).await
    }
}

impl HttpClient {
    /// Sends a request that is expected to be answered with a status.
    ///
    /// # Errors
    /// Returns [`Refusal`] for another status, or the errors of the connection.
    pub(super) async fn send_expecting(
        &mut self,
        call: Call<'_>,
        status: StatusCode,
    ) -> anyhow::Result<Answer> {
        let answer = self.send(call).await?;
        if answer.status == status {
            return Ok(answer);
        }
        Err(answer.refusal().await?.into())
    }
}

/// Reads a whole response as JSON.
///
/// # Errors
/// Returns an error if the response is not JSON or too long, or the errors of the connection.
pub(super) async fn value(answer: &mut Answer) -> anyhow::Result<serde_json::Value> {
    let text = answer.text(MAX_VALUE_BYTES).await?;
    serde_json::from_str(&text).context("the response is not JSON")
}

async fn expect_ok(
    verb: &'static str,
    kind: &'static str,
    answer: Answer,
) -> anyhow::Result<Answer> {
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    Err(failed(verb, kind, answer).await?)
}

async fn failed(
    verb: &'static str,
    kind: &'static str,
    answer: Answer,
) -> anyhow::Result<anyhow::Error> {
    let refusal: Refusal = answer.refusal().await?;
    let failed = Failed {
        verb,
        kind,
        refusal,
    };
    Ok(failed.into())
}

fn path(kind: &str, id: &str) -> String {
    format!("/api/{kind}/{}", path_segment(id))
}

/// Maximum length of a response that is not processed as a stream, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 256 << 20;
